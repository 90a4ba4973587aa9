"""A path in any layout in, a corpus out: its files in a fixed order, and the parts they are cut into."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.registry import Registry
from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import sha256_json
from bertsmith.storage.remote import is_address
from bertsmith.storage.results import AVERAGED
from bertsmith.text.corpus_files import count_endings, is_below, list_address, list_path
from bertsmith.text.layouts.json_lines import JSON_LINES
from bertsmith.text.layouts.layout import CorpusFile, CorpusPart, Layout
from bertsmith.text.layouts.openwebtext import OPENWEBTEXT
from bertsmith.text.layouts.parquet import PARQUET
from bertsmith.text.layouts.plain_text import PLAIN_TEXT
from bertsmith.text.shares import Share

LAYOUTS = Registry("layout", {"openwebtext": OPENWEBTEXT, "text": PLAIN_TEXT, "jsonl": JSON_LINES, "parquet": PARQUET})
"""Name → layout. To add one, write its file in `layouts/` and register it here."""

MAX_ENDINGS = 8  # in the message about files that are not read


@settings
class CorpusSettings:
    """One of several corpora; what it leaves out is the recipe's."""

    path: str = setting(description="its text, as of corpus")
    name: str | None = setting(
        None, "by which data, measures and weights know it; by default of the path's last part",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$",
    )  # fmt: skip
    weight: float | None = setting(
        None, "its share of the training tokens beside the others' weights; all have one or none, which is to see each "
        "text equally often (pretrain weights={…} may choose others)", gt=0,
    )  # fmt: skip
    layout: Annotated[str, LAYOUTS] | None = setting(None, "its layout, if not the recipe's")
    documents: Literal["file", "blank_lines"] | None = setting(None, "likewise")
    field: str | None = setting(None, "likewise", min_length=1)


@settings
class CorpusRecipe:
    """A corpus and its layout, or several corpora."""

    exclusive: ClassVar[tuple[str, ...]] = ("corpus", "corpora")
    lists: ClassVar[dict[str, tuple[str, str]]] = {"corpus": ("corpora", "path")}

    corpus: str | None = setting(
        None, "file, folder, glob or URL (s3://…, gs://…, hf://…) of the text; may move between two runs; [a, b]: "
        "several corpora, see docs/corpora.md",
        identity=False, url=True,
    )  # fmt: skip
    corpora: tuple[CorpusSettings, ...] = setting(
        (), "in place of corpus several, each with a name, which training mixes by weight", identity=False, url=True
    )
    layout: Annotated[str, LAYOUTS] = setting(
        description="; ".join(f"{name}: {layout.description}" for name, layout in LAYOUTS.items())
    )
    documents: Literal["file", "blank_lines"] = setting(
        "file", "of layout text, what a document is: file: each file; blank_lines: what stands between blank lines"
    )
    field: str = setting("text", "of layouts jsonl and parquet, the field or column that holds the text", min_length=1)
    plugins: tuple[str, ...] = setting(
        (), "files of your own that register more of what a recipe can name; the command line adds to these",
        identity=False,  # their hashes are
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.corpus is None and not self.corpora:
            raise ValueError("corpus: needs a value, in the recipe or as corpus=… on the command line")
        if self.corpus is not None and self.corpora:
            raise ValueError("corpus and corpora: give one of them")
        weighted = [corpus.weight is not None for corpus in self.corpora]
        if any(weighted) and not all(weighted):
            raise ValueError(
                f"corpora[{weighted.index(False)}].weight: needs a value, since corpora[{weighted.index(True)}] has one"
            )
        names = [corpus.name for corpus in self.corpora if corpus.name]
        if taken := [name for name in names if name.startswith(AVERAGED)]:
            raise ValueError(
                f"corpora: name = {quoted(taken[0], 60)}: {AVERAGED}… are measures of averaged weights; choose another"
            )
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"corpora: two have the name {twice[0]}; choose another")


class Corpus:
    """The corpus of a recipe, listed but not read.

    Attributes:
        recipe: the recipe, with this one as its `corpus`.
        path: where it is.
        files: in the order in which they are read.
        num_bytes: of all files together, as stored.
        passed_over: how many other files are there, by their ending.
        fingerprint: hash of the files' names below their common folder and of their sizes.
    """

    def __init__(self, recipe: CorpusRecipe, files: Sequence[CorpusFile], passed_over: Counter[str]):
        assert recipe.corpus is not None, "several corpora are a recipe each"
        self.recipe, self.path, self.files, self.passed_over = recipe, recipe.corpus, files, passed_over
        self.num_bytes = sum(file.size for file in files)
        paths = [re.sub("/+", "/", file.path) for file in files]  # as `commonpath` writes them, URLs too
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [path.removeprefix(folder).lstrip("/") for path in paths]
        self.fingerprint = sha256_json([[name, file.size] for name, file in zip(names, files, strict=True)])

    def report_passed_over(self, report: Callable[[str], None]) -> None:
        """Report in a line how many files are not read, where there are any."""
        if self.passed_over:
            found = self.passed_over.most_common()
            shown = ", ".join(f"{count:,} {ending}" for ending, count in found[:MAX_ENDINGS])
            more = sum(count for _, count in found[MAX_ENDINGS:])
            report(f"{self.path}: passed over: {shown}{f' and {more:,} more' if more else ''}")

    def parts(self, share: Share | None = None, start: int = 0, total: int | None = None) -> Iterator[CorpusPart]:
        """Return all parts in order, the same ones at each call, or those of a `share` of the files' bytes. Files that
        are wholly other shares' are not opened, where the layout allows it. Beside others it begins at `start` of their
        `total` bytes."""
        layout = LAYOUTS[self.recipe.layout]
        if share is None:
            return layout.parts(self.files, self.recipe)
        return self._parts_of(share, layout, start, self.num_bytes if total is None else total)

    def _parts_of(self, share: Share, layout: Layout, start: int, total: int) -> Iterator[CorpusPart]:
        """Yield the parts whose first byte is this share's."""
        groups = [[file] for file in self.files] if layout.by_file(self.files) else [self.files]
        for group in groups:
            size = sum(file.size for file in group)
            last = start + max(0, size - 1)
            if share.compare(start, total) <= 0 <= share.compare(last, total):
                done = 0
                for part in layout.parts(group, self.recipe):
                    place = share.compare(min(start + done, last), total)
                    if place > 0:
                        return
                    if place == 0:
                        yield part
                    done += part.size
            start += size


def open_corpus(recipe: CorpusRecipe, apart_from: Sequence[Path | str] = ()) -> Corpus:
    """List the corpus of `recipe`: of a folder or a glob the files with the layout's suffixes; a file, or all files of
    a glob where none has such a suffix, whatever the suffix. Files and folders of `apart_from` are left out.

    Raises:
        UserError: nothing is there, or nothing of the recipe's layout.
    """
    path = recipe.corpus or ""
    passed_over: Counter[str] = Counter()
    files = list_address(path) if is_address(path) else list_path(path, passed_over)
    others = tuple(os.path.abspath(other) for other in apart_from)
    if is_below(os.path.abspath(path), others):
        raise UserError(f"{path}: the corpus itself; choose another --out")
    files = [file for file in files if not is_below(os.path.abspath(file.path), others)]
    groups = LAYOUTS[recipe.layout].suffixes
    for suffixes in groups:
        if chosen := [file for file in files if file.path.lower().endswith(suffixes)]:
            read = {file.path for file in chosen}
            rest = count_endings(file.path for file in files if file.path not in read)
            return Corpus(recipe, chosen, passed_over + rest)
    if files and not os.path.isdir(path):
        return Corpus(recipe, files, passed_over)
    found = f"{len(files)} files, such as {os.path.basename(files[0].path)}" if files else "no file"
    wanted = ", ".join("*" + suffix for suffixes in groups for suffix in suffixes)
    raise UserError(f"{path}: {found}; layout = {recipe.layout!r} reads {wanted}")
