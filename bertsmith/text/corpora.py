"""A path in any layout in, a corpus out: its files in a fixed order, and the parts they are cut into."""

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.registry import Registry
from bertsmith.errors import UserError
from bertsmith.storage.files import reported, sha256_json
from bertsmith.storage.manifests import folder_type
from bertsmith.storage.remote import find_remote, is_address
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
class CorpusRecipe:
    """A corpus and its layout."""

    corpus: str = setting(
        description="file, folder, glob or URL (s3://…, gs://…, hf://…) of the text; may move between two runs",
        identity=False,
        url=True,
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


class Corpus:
    """The corpus of a recipe, listed but not read.

    Attributes:
        recipe: the recipe.
        files: in the order in which they are read.
        num_bytes: of all files together, as stored.
        passed_over: how many other files are there, by their ending.
        fingerprint: hash of the files' names below their common folder and of their sizes.
    """

    def __init__(self, recipe: CorpusRecipe, files: Sequence[CorpusFile], passed_over: Counter[str]):
        self.recipe, self.files, self.passed_over = recipe, files, passed_over
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
            report(f"{self.recipe.corpus}: passed over: {shown}{f' and {more:,} more' if more else ''}")

    def parts(self, share: Share | None = None) -> Iterator[CorpusPart]:
        """Return all parts in order, the same ones at each call, or those of a `share` of the files' bytes. Files that
        are wholly other shares' are not opened, where the layout allows it."""
        layout = LAYOUTS[self.recipe.layout]
        return layout.parts(self.files, self.recipe) if share is None else self._parts_of(share, layout)

    def _parts_of(self, share: Share, layout: Layout) -> Iterator[CorpusPart]:
        """Yield the parts whose first byte is this share's."""
        groups = [[file] for file in self.files] if layout.by_file(self.files) else [self.files]
        start = 0
        for group in groups:
            size = sum(file.size for file in group)
            last = start + max(0, size - 1)
            if share.compare(start, self.num_bytes) <= 0 <= share.compare(last, self.num_bytes):
                done = 0
                for part in layout.parts(group, self.recipe):
                    place = share.compare(min(start + done, last), self.num_bytes)
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
    path = recipe.corpus
    passed_over: Counter[str] = Counter()
    files = _list_url(path) if is_address(path) else _list_local(path, passed_over)
    others = tuple(os.path.abspath(other) for other in apart_from)
    if _is_in(os.path.abspath(path), others):
        raise UserError(f"{path}: the corpus itself; choose another --out")
    files = [file for file in files if not _is_in(os.path.abspath(file.path), others)]
    groups = LAYOUTS[recipe.layout].suffixes
    for suffixes in groups:
        if chosen := [file for file in files if file.path.lower().endswith(suffixes)]:
            read = {file.path for file in chosen}
            return Corpus(recipe, chosen, passed_over + _endings(file.path for file in files if file.path not in read))
    if files and not os.path.isdir(path):
        return Corpus(recipe, files, passed_over)
    found = f"{len(files)} files, such as {os.path.basename(files[0].path)}" if files else "no file"
    wanted = ", ".join("*" + suffix for suffixes in groups for suffix in suffixes)
    raise UserError(f"{path}: {found}; layout = {recipe.layout!r} reads {wanted}")


def _endings(paths: Iterable[str]) -> Counter[str]:
    names = (os.path.basename(path) for path in paths)
    endings = ("".join(Path(name.lstrip(".")).suffixes[-2:]) for name in names)
    return Counter(f"*{ending[-20:]}" if ending else "without an ending" for ending in endings)


def _list_local(path: str, passed_over: Counter[str]) -> list[CorpusFile]:
    """List the regular files; pipes and devices are counted and never opened."""
    with reported(Path(path)):
        if os.path.isdir(path):
            names = list(_walk(path, passed_over))
        else:
            names = [path] if os.path.exists(path) else glob.glob(path, recursive=True)
            if not names:
                raise UserError(f"{path}: no such file or folder; set corpus=… to where the text is")
        files = []
        for name in names:
            status = os.stat(name)
            if stat.S_ISREG(status.st_mode):
                files.append(CorpusFile(name, status.st_size))
            elif name == path:
                raise UserError(f"{path}: neither a file nor a folder; write what it gives to a file")
            elif not stat.S_ISDIR(status.st_mode):
                passed_over["pipe, device or socket"] += 1
        return sorted(files)


def _is_in(path: str, others: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}{os.sep}") for other in others)


def _walk(folder: str, passed_over: Counter[str]) -> Iterator[str]:
    """Yield the files below a folder, but hidden ones and those in folders that bertsmith wrote; links are followed,
    and no folder is entered twice."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen or (parent != folder and folder_type(Path(parent)) is not None):
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        hidden = sum(name.startswith(".") for name in names)
        if hidden:
            passed_over["hidden"] += hidden
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))


def _list_url(url: str) -> list[CorpusFile]:
    if not (found := find_remote(url)):
        raise UserError(f"{url}: nothing there; set corpus=… to where the text is")
    return [CorpusFile(address, size) for address, size in found]
