"""A path in any layout in, a corpus out: its files in a fixed order, and the units they are cut into."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from bertsmith.errors import UserError
from bertsmith.files import reported, sha256_json
from bertsmith.manifests import kind_of
from bertsmith.settings import setting, settings
from bertsmith.text import units
from bertsmith.text.units import File, Unit


@settings
class CorpusRecipe:
    """Which text, and how it is laid out."""

    corpus: str = setting(
        description="file, folder, glob or URL (s3://…, gs://…, hf://…) of the text; may move between two runs",
        identity=False,
    )
    layout: Literal["openwebtext", "text", "jsonl", "parquet"] = setting(
        description="openwebtext: its archive, the archives in it, or their texts; text: .txt files; jsonl: JSON "
        "lines, plain or compressed (.gz, .xz, .zst); parquet: Parquet files"
    )
    documents: Literal["file", "blank_lines"] = setting(
        "file", "of layout text, what a document is: file: each file; blank_lines: what stands between blank lines"
    )
    field: str = setting("text", "of layouts jsonl and parquet, the field or column that holds the text", min_length=1)


class Corpus:
    """What a recipe names, listed but not read.

    Attributes:
        recipe: the recipe.
        files: in the order in which they are read.
        num_bytes: of all files together, as stored.
        fingerprint: hash of the files' names below their common folder and of their sizes.
    """

    def __init__(self, recipe: CorpusRecipe, files: Sequence[File]):
        self.recipe, self.files = recipe, files
        self.num_bytes = sum(file.size for file in files)
        paths = [re.sub("/+", "/", file.path) for file in files]  # as `commonpath` writes them, URLs too
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [path.removeprefix(folder).lstrip("/") for path in paths]
        self.fingerprint = sha256_json([[name, file.size] for name, file in zip(names, files, strict=True)])

    def units(self) -> Iterator[Unit]:
        """All units in order: the same ones whenever they are asked for."""
        if self.recipe.layout == "jsonl":
            return units.json_lines(self.files, self.recipe.field)
        if self.recipe.layout == "parquet":
            return units.parquet(self.files, self.recipe.field)
        if self.recipe.layout == "openwebtext" and not self.files[0].path.endswith(".txt"):
            return units.archives(self.files)
        return units.texts(self.files, self.recipe.documents == "blank_lines")


def open_corpus(recipe: CorpusRecipe, apart_from: Sequence[Path] = ()) -> Corpus:
    """The corpus that `recipe` names. Of a folder, or of what a glob finds, the files with the layout's suffixes; a
    file, or a glob that finds none of those, is taken at its word.

    Args:
        apart_from: files and folders that are no part of it, wherever they are: what is made of it, and a vocabulary.

    Raises:
        UserError: nothing is there, or nothing of the recipe's layout.
    """
    path = recipe.corpus
    files = _list_url(path) if "://" in path else _list_local(path)
    others = tuple(os.path.abspath(other) for other in apart_from)
    if _is_in(os.path.abspath(path), others):
        raise UserError(f"{path}: the corpus itself; choose another --out")
    files = [file for file in files if not _is_in(os.path.abspath(file.path), others)]
    kinds = _SUFFIXES[recipe.layout]
    for suffixes in kinds:
        if chosen := [file for file in files if file.path.endswith(suffixes)]:
            return Corpus(recipe, chosen)
    if files and not os.path.isdir(path):
        return Corpus(recipe, files)
    found = f"{len(files)} files, such as {os.path.basename(files[0].path)}" if files else "no file"
    wanted = ", ".join("*" + suffix for suffixes in kinds for suffix in suffixes)
    raise UserError(f"{path}: {found}; layout = {recipe.layout!r} reads {wanted}")


_SUFFIXES = {
    # The first kind that is there: a folder may hold the big archive beside what was taken out of it.
    "openwebtext": (("_data.xz",), (".tar.xz", ".tar"), (".txt",)),
    "text": ((".txt",),),
    "jsonl": ((".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst"),),
    "parquet": ((".parquet",),),
}


def _list_local(path: str) -> list[File]:
    with reported(Path(path)):
        if os.path.isdir(path):
            names = _walk(path)
        else:
            names = [path] if os.path.exists(path) else glob.glob(path, recursive=True)
            if not names:
                raise UserError(f"{path}: no such file or folder; set corpus=… to where the text is")
        return sorted(File(name, os.path.getsize(name)) for name in names if not os.path.isdir(name))


def _is_in(path: str, others: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}{os.sep}") for other in others)


def _walk(folder: str) -> Iterator[str]:
    """All files below it, but hidden ones and those of folders that we have written; links are followed, and no folder
    is entered twice."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen or (parent != folder and kind_of(Path(parent)) is not None):
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))


def _list_url(url: str) -> list[File]:
    import fsspec  # here: 0.14 s, a third of what the room takes to import

    try:
        system, path = fsspec.core.url_to_fs(url)
        found = system.glob(path, detail=True) if glob.has_magic(path) else system.find(path, detail=True)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"{url}: cannot be listed: {error}") from None
    if not found:
        raise UserError(f"{url}: nothing there; set corpus=… to where the text is")
    return sorted(
        File(system.unstrip_protocol(name), info["size"])
        for name, info in found.items()
        if info["type"] == "file" and "/." not in name.removeprefix(path)
    )
