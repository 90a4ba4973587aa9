"""Tar archives of documents, compressed or not, and archives of such archives, as OpenWebText is published."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bertsmith.storage.files import reported
from bertsmith.text.archives import members
from bertsmith.text.compression import OnBroken, UnreadableInput, archive_format, decompressed, is_readable, refuse
from bertsmith.text.layouts import layout
from bertsmith.text.layouts.plain_text import text_parts

LARGEST_INNER = 8 << 20
"""Bytes of a compressed archive that is a part as it is; a larger one is read where the parts are listed."""


@dataclass(frozen=True)
class ArchivePart:
    """A part of a corpus: a tar archive of documents."""

    source: str
    size: int
    content: bytes | None = None  # None where `source` is the archive itself

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        size = 0
        with reported(Path(self.source)), self._open() as file:
            for content in members(decompressed(file, self.source), self.source, skipped, broken):
                size += len(content)
                if size > layout.LONGEST_DOCUMENT:
                    raise UnreadableInput(
                        f"{self.source}: over {layout.LONGEST_DOCUMENT >> 20} MB of text, the most of an archive "
                        f"that is read as one piece; unpack it"
                    )
                if found := archive_format(content):
                    broken(layout.among_texts(self.source, found))
                else:
                    yield content

    def _open(self) -> BinaryIO:
        if self.content is not None:
            return io.BytesIO(self.content)
        return layout.open_file(self.source, self.size, at_once=True)


def archive_parts(files: Iterable[layout.CorpusFile]) -> Iterator[layout.CorpusPart]:
    """Return the parts of archives of documents (OpenWebText's `urlsf_subset*_data.xz`), and of archives of such
    archives, which are streamed."""
    return layout.parts_of_each(files, _archive)


def _archive(file: layout.CorpusFile) -> Iterator[layout.CorpusPart]:
    if file.path.lower().endswith("_data.xz") and file.size <= LARGEST_INNER:
        yield ArchivePart(file.path, file.size)
        return
    with layout.open_file(file.path, file.size) as raw:
        yield from _members(raw, raw, layout.PartBuilder(file.path), file.path)


def _members(packed: BinaryIO, raw: BinaryIO, builder: layout.PartBuilder, source: str) -> Iterator[layout.CorpusPart]:
    """Yield parts of an archive's members, each of which is a document or an archive itself.

    Args:
        packed: the archive.
        raw: the file that it is, or that it is in.
    """
    number, contents = 0, members(decompressed(packed, source), source, builder.skipped, builder.faults.append)
    while True:
        try:
            content = next(contents, None)
        except UnreadableInput:
            yield from builder.parts(raw.tell())
            raise
        if content is None:
            break
        found = archive_format(content)
        if found is None:
            yield from builder.add(content, raw.tell())
            continue
        yield from builder.parts(raw.tell())
        number += 1
        inner = f"{source}, archive {number} in it"
        if packed is not raw or not is_readable(found):
            yield layout.BrokenPart(inner, 0, str(layout.among_texts(inner, found)))
        elif len(content) <= LARGEST_INNER:
            yield ArchivePart(inner, len(content), content)
        else:
            try:
                yield from _members(io.BytesIO(content), raw, builder, inner)
            except UnreadableInput as error:
                yield layout.BrokenPart(inner, 0, str(error))
    yield from builder.parts(raw.tell())


OPENWEBTEXT = layout.Layout(
    # A folder may hold the big archive beside what was taken out of it.
    (("_data.xz",), (".tar.xz", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2"), (".txt",)),
    lambda files, recipe: (
        text_parts(files, blank_lines=recipe.documents == "blank_lines") if _are_texts(files) else archive_parts(files)
    ),
    "its archive, the archives in it, or their texts",
    by_file=lambda files: not _are_texts(files),
)


def _are_texts(files: Sequence[layout.CorpusFile]) -> bool:
    return files[0].path.lower().endswith(".txt")
