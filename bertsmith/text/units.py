"""Files of a corpus in, units out; a unit in, documents out.

A unit is a few megabytes of text: what one worker reads at a time, and what is done again after a crash. How files are
cut into units depends on the files alone, so documents come in the same order for any number of workers. What can only
be read forwards (the archive of archives, JSON lines, Parquet) is read where the units are listed; text files, and
archives inside the archive, are opened by whoever reads the unit.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from bertsmith.storage.files import reported
from bertsmith.text.archives import members
from bertsmith.text.columns import cells
from bertsmith.text.compression import BrokenArchive, archive_kind, decompressed, is_readable
from bertsmith.text.text_files import LONGEST_DOCUMENT, CorpusFile, open_file, spans_of
from bertsmith.text.unit_kinds import (
    LONGEST_LINE,
    Archive,
    Broken,
    Documents,
    JsonLines,
    Texts,
    Unit,
    among_texts,
    long_line,
)

UNIT_BYTES = 4 << 20
"""Of text, about: 80 ms of work. The archives inside OpenWebText's are units as they come, 2 to 3 MB of text."""

LARGEST_INNER = 8 << 20
"""Bytes of a compressed archive that is a unit as it is; a larger one is read where the units are listed."""

_MOST_FILES = 4096
"""Of a unit of small ones."""


def archives(files: Iterable[CorpusFile]) -> Iterator[Unit]:
    """Archives of documents (OpenWebText's `urlsf_subset*_data.xz`), and archives of such archives, streamed."""
    return _each(files, _archive)


def texts(files: Iterable[CorpusFile], blank_lines: bool) -> Iterator[Unit]:
    """Text files: small ones together, big ones in parts."""
    spans, size = [], 0
    for span in chain.from_iterable(spans_of(file, blank_lines, UNIT_BYTES) for file in files):
        spans.append(span)
        size += span.stop - span.start
        if size >= UNIT_BYTES or len(spans) >= _MOST_FILES:
            yield Texts(tuple(spans), blank_lines)
            spans, size = [], 0
    if spans:
        yield Texts(tuple(spans), blank_lines)


def json_lines(files: Iterable[CorpusFile], field: str) -> Iterator[Unit]:
    """Files of JSON lines, plain or compressed."""
    return _each(files, lambda file: _json_lines(file, field))


def parquet(files: Iterable[CorpusFile], column: str) -> Iterator[Unit]:
    """Return the units of a text column of Parquet files."""
    return _each(files, lambda file: _cells(file, column))


def read_documents(files: Iterable[CorpusFile], read: Callable[[BinaryIO], Iterator[str]]) -> Iterator[Unit]:
    """Return the units of documents that `read` takes out of each opened file, for layouts of one's own."""
    return _each(files, lambda file: _documents(file, read))


def _each(files: Iterable[CorpusFile], units_of: Callable[[CorpusFile], Iterator[Unit]]) -> Iterator[Unit]:
    """Units of all files; one that proves broken ends with a `Broken` unit, for its reader to judge."""
    for file in files:
        try:
            with reported(Path(file.path)):
                yield from units_of(file)
        except BrokenArchive as error:
            yield Broken(file.path, 0, str(error))


class _Pile:
    """Documents that wait for being enough for a unit."""

    def __init__(self, source: str):
        self.source = source
        self.skipped: Counter[str] = Counter()
        self.faults: list[BrokenArchive] = []
        self._contents: list[bytes] = []
        self._size = self._start = 0

    def add(self, content: bytes, position: int) -> Iterator[Unit]:
        """Take in a document; gives a unit where there are enough. `position` is the number of the file's bytes that
        are after it."""
        if len(content) > LONGEST_DOCUMENT:
            self.faults.append(BrokenArchive(f"{self.source}: a document of over {LONGEST_DOCUMENT >> 20} MB; cut it"))
        else:
            self._contents.append(content)
            self._size += len(content)
        if self._size >= UNIT_BYTES or self.faults:
            yield from self.units(position)

    def units(self, position: int) -> Iterator[Unit]:
        """Yield what there is, as a unit, then what was broken."""
        if self._contents or self.skipped:
            yield Documents(self.source, position - self._start, tuple(self._contents), Counter(self.skipped))
        yield from (Broken(self.source, 0, str(fault)) for fault in self.faults)
        self.skipped.clear()
        self.faults.clear()
        self._contents, self._size, self._start = [], 0, position


def _archive(file: CorpusFile) -> Iterator[Unit]:
    if file.path.lower().endswith("_data.xz") and file.size <= LARGEST_INNER:
        yield Archive(file.path, file.size)
        return
    with open_file(file.path) as raw:
        yield from _members(raw, raw, _Pile(file.path), file.path)


def _members(packed: BinaryIO, raw: BinaryIO, pile: _Pile, source: str) -> Iterator[Unit]:
    """Units of an archive's members, each of which is a document or an archive itself.

    Args:
        packed: the archive.
        raw: the file that it is, or that it is in.
    """
    number, contents = 0, members(decompressed(packed, source), source, pile.skipped, pile.faults.append)
    while True:
        try:
            content = next(contents, None)
        except BrokenArchive:
            yield from pile.units(raw.tell())
            raise
        if content is None:
            break
        kind = archive_kind(content)
        if kind is None:
            yield from pile.add(content, raw.tell())
            continue
        yield from pile.units(raw.tell())
        number += 1
        inner = f"{source}, archive {number} in it"
        if packed is not raw or not is_readable(kind):
            yield Broken(inner, 0, str(among_texts(inner, kind)))
        elif len(content) <= LARGEST_INNER:
            yield Archive(inner, len(content), content)
        else:
            try:
                yield from _members(io.BytesIO(content), raw, pile, inner)
            except BrokenArchive as error:
                yield Broken(inner, 0, str(error))
    yield from pile.units(raw.tell())


def _documents(file: CorpusFile, read: Callable[[BinaryIO], Iterator[str]]) -> Iterator[Unit]:
    pile = _Pile(file.path)
    with open_file(file.path) as raw:
        for text in read(raw):
            yield from pile.add(text.encode(), raw.tell())
    yield from pile.units(file.size)


def _cells(file: CorpusFile, column: str) -> Iterator[Unit]:
    pile, position = _Pile(file.path), 0
    try:
        for content, position in cells(file, column):
            yield from pile.add(content, position)
    except BrokenArchive:
        yield from pile.units(position)
        raise
    yield from pile.units(position)


def _json_lines(file: CorpusFile, field: str) -> Iterator[Unit]:
    with open_file(file.path) as raw:
        start = 0
        for part in _whole_lines(decompressed(raw, file.path), file.path):
            if isinstance(part, BrokenArchive):
                yield Broken(file.path, 0, str(part))
            else:
                yield JsonLines(file.path, raw.tell() - start, part, field)
                start = raw.tell()


def _whole_lines(blocks: Iterator[bytes], source: str) -> Iterator[bytes | BrokenArchive]:
    """Yield what `blocks` hold, cut between lines into parts of UNIT_BYTES, with an error in the place of a long
    line."""
    parts, size, is_long = [], 0, False
    try:
        for block in blocks:
            if is_long:
                stop = block.find(b"\n") + 1
                if not stop:
                    continue
                block, is_long = block[stop:], False
            parts.append(block)
            size += len(block)
            if size < min(UNIT_BYTES, LONGEST_LINE):
                continue
            content = b"".join(parts) if b"\n" in block or size > LONGEST_LINE else b""
            if stop := content.rfind(b"\n") + 1:
                yield content[:stop]
                parts, size = [content[stop:]], len(content) - stop
            if size > LONGEST_LINE:
                yield long_line(source)
                parts, size, is_long = [], 0, True
    except BrokenArchive:
        if lines := b"".join(parts).rpartition(b"\n")[0]:
            yield lines
        raise
    if size:
        yield b"".join(parts)
