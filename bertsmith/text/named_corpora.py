"""The corpora of a recipe: one, or several by name, which are read one after another."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.storage.files import sha256_json
from bertsmith.storage.remote import is_address
from bertsmith.storage.results import AVERAGED
from bertsmith.text.corpora import Corpus, CorpusRecipe, open_corpus
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.shares import Share


class Corpora:
    """The corpora of a recipe, listed but not read.

    Attributes:
        recipe: the recipe.
        all: in the order in which they are read.
        names: of each, where the recipe has several; of one corpus none.
    """

    def __init__(self, recipe: CorpusRecipe, corpora: Sequence[Corpus]):
        self.recipe, self.all = recipe, corpora
        self.names = _names(recipe)

    @property
    def path(self) -> str:
        """Where they are, for messages."""
        return ", ".join(corpus.path for corpus in self.all)

    @property
    def num_files(self) -> int:
        return sum(len(corpus.files) for corpus in self.all)

    @property
    def num_bytes(self) -> int:
        """Of all files together, as stored."""
        return sum(corpus.num_bytes for corpus in self.all)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides their text, in place of their paths; `corpus` is a hash of all of it."""
        if not self.names:
            return {"corpus": self.all[0].fingerprint}
        own = {
            f"corpora.{name}": [
                corpus.fingerprint, corpus.recipe.layout, corpus.recipe.documents, corpus.recipe.field,
            ] for name, corpus in zip(self.names, self.all, strict=True)
        }  # fmt: skip
        return {"corpus": sha256_json(list(own.items())), "corpora": list(self.names), **own}

    def describe(self) -> list[dict[str, Any]]:
        """Return what a manifest says of each of several: name, path, files, bytes as stored, and the weight."""
        weights = self.weights
        return [
            {"name": name, "path": corpus.path, "files": len(corpus.files), "bytes": corpus.num_bytes}
            | ({"weight": weights[name]} if name in weights else {})
            for name, corpus in zip(self.names, self.all, strict=False)
        ]

    @property
    def weights(self) -> dict[str, float]:
        """By name, where the recipe has any."""
        pairs = zip(self.names, self.recipe.corpora, strict=False)
        return {name: float(one.weight) for name, one in pairs if one.weight is not None}

    def report_files(self, report: Callable[[str], None]) -> None:
        """Report in a line for each how many files are not read, and in one which are two corpora's, if any."""
        for corpus in self.all:
            corpus.report_passed_over(report)
        owners: dict[str, str] = {}
        shared: list[tuple[str, str, str]] = []
        for name, corpus in zip(self.names, self.all, strict=False):
            for path, _ in corpus.files:
                owner = owners.setdefault(path if is_address(path) else os.path.abspath(path), name)
                if owner != name:
                    shared.append((path, owner, name))
        if shared:
            (path, *both), more = shared[0], f" and {len(shared) - 1:,} more" if len(shared) > 1 else ""
            report(f"{path}{more}: in two corpora, {' and '.join(both)}, so that its text is there twice")

    def parts(self, share: Share | None = None) -> Iterator[tuple[int, CorpusPart]]:
        """Yield all parts, each with the number of its corpus, or those of a `share` of all bytes; see
        `Corpus.parts`."""
        start, total = 0, self.num_bytes
        for number, corpus in enumerate(self.all):
            for part in corpus.parts(share, start, total):
                yield number, part
            start += corpus.num_bytes


def open_corpora(recipe: CorpusRecipe, apart_from: Sequence[Path | str] = ()) -> Corpora:
    """List the corpora of `recipe`, as `open_corpus` does each; raises UserError as that."""
    if not recipe.corpora:
        return Corpora(recipe, [open_corpus(recipe, apart_from)])
    each = [
        replace(
            recipe, corpus=one.path, corpora=(), layout=one.layout or recipe.layout,
            documents=one.documents or recipe.documents, field=one.field or recipe.field,
        ) for one in recipe.corpora
    ]  # fmt: skip
    return Corpora(recipe, [open_corpus(one, apart_from) for one in each])


def _names(recipe: CorpusRecipe) -> list[str]:
    """Return each corpus's name: its own, or one made of the last part of its path that is no pattern."""
    names: list[str] = []
    taken = {one.name for one in recipe.corpora}
    for one in recipe.corpora:
        parts = [part for part in re.split(r"[/\\]+", one.path) if part and not set("*?[") & set(part)]
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", (parts or [""])[-1].split(".")[0])[:32].strip("-_") or "corpus"
        stem = f"of-{stem}" if stem.startswith(AVERAGED) else stem
        name, number = one.name or stem, 1
        while not one.name and name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names
