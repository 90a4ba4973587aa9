"""Files of a corpus in, units out; a unit in, documents out.

A unit is a few megabytes of text: what one worker reads at a time, and what is done again after a crash. How files are
cut into units depends on the files alone, so documents come in the same order for any number of workers. What can only
be read forwards (the archive of archives, JSON lines, Parquet) is read where the units are listed; text files, and
archives inside the archive, are opened by whoever reads the unit.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from bertsmith.errors import UserError
from bertsmith.files import reported
from bertsmith.text.archives import XZ_MAGIC, BrokenArchive, decompressed, members

UNIT_BYTES = 4 << 20
"""Of text, about: 80 ms of work. The archives inside OpenWebText's are units as they come, 2 to 3 MB of text."""

LONGEST_DOCUMENT = 256 << 20
"""Bytes; what a text file holds beyond it becomes another document, so that memory stays bounded."""

LONGEST_LINE = 1 << 30
"""Bytes of a line of JSON, which has to be held whole."""


class File(NamedTuple):
    path: str
    """Local, or a URL."""
    size: int
    """In bytes, as stored."""


class Unit(Protocol):
    """A part of a corpus, which can be pickled.

    Attributes:
        source: the file it is from, for messages.
        size: its share of the bytes of the corpus's files.
    """

    source: str
    size: int

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        """The unit's documents in order; those that cannot be had are counted in `skipped` by their reason.

        Raises:
            BrokenArchive: the file is truncated, corrupt or hostile.
            UserError: the file cannot be read.
        """


@dataclass(frozen=True)
class Archive:
    """A tar archive, compressed or not, of documents."""

    source: str
    size: int
    content: bytes | None = None
    """None where `source` is the archive itself."""

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        with reported(Path(self.source)), self._open() as file:
            yield from members(decompressed(file, self.source), self.source)

    def _open(self) -> BinaryIO:
        return _open(self.source) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class Documents:
    """Documents at hand."""

    source: str
    size: int
    contents: tuple[bytes, ...]

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        return iter(self.contents)


class Span(NamedTuple):
    """A part of a text file, in bytes; it begins and ends between documents."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Texts:
    """Text files, or parts of big ones."""

    spans: tuple[Span, ...]
    blank_lines: bool

    @property
    def source(self) -> str:
        return self.spans[0].path

    @property
    def size(self) -> int:
        return sum(span.stop - span.start for span in self.spans)

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        for span in self.spans:
            with reported(Path(span.path)), _open(span.path) as file:
                content = _read(file, span.start, span.stop)
            if self.blank_lines:
                yield from filter(None, map(bytes.strip, _BLANK_LINES.split(content)))
            else:
                yield content


@dataclass(frozen=True)
class JsonLines:
    """Lines that are JSON objects."""

    source: str
    size: int
    content: bytes
    field: str

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        for line in io.BytesIO(self.content):
            if line.isspace():
                continue
            try:
                yield json.loads(line)[self.field].encode()
            except UnicodeError:  # in the line, or a lone surrogate in the text; a kind of ValueError
                skipped["not UTF-8"] += 1
            except (ValueError, RecursionError):
                skipped["not JSON"] += 1
            except (KeyError, TypeError, AttributeError):
                skipped[f"no text in field {self.field!r}"] += 1


@dataclass(frozen=True)
class Broken:
    """Where the rest of a broken file would have been."""

    source: str
    size: int
    reason: str

    def documents(self, skipped: Counter[str]) -> Iterator[bytes]:
        raise BrokenArchive(self.reason)


def archives(files: Iterable[File]) -> Iterator[Unit]:
    """Archives of documents (OpenWebText's `urlsf_subset*_data.xz`), and archives of such archives, streamed."""
    return _each(files, _archive)


def texts(files: Iterable[File], blank_lines: bool) -> Iterator[Unit]:
    """Text files: small ones together, big ones in parts."""
    spans, size = [], 0
    for span in chain.from_iterable(_spans(file, blank_lines) for file in files):
        spans.append(span)
        size += span.stop - span.start
        if size >= UNIT_BYTES or len(spans) >= _MOST_FILES:
            yield Texts(tuple(spans), blank_lines)
            spans, size = [], 0
    if spans:
        yield Texts(tuple(spans), blank_lines)


def json_lines(files: Iterable[File], field: str) -> Iterator[Unit]:
    """Files of JSON lines, plain or compressed."""
    return _each(files, lambda file: _json_blocks(file, field))


def parquet(files: Iterable[File], column: str) -> Iterator[Unit]:
    """A text column of Parquet files."""
    return _each(files, lambda file: _pile(file.path, _cells(file, column)))


_BLANK_LINES = re.compile(rb"\n\s*\n")
_MOST_FILES = 4096


def _open(path: str) -> BinaryIO:
    if "://" not in path:
        return open(path, "rb")
    import fsspec  # here: 0.14 s, a third of what the room takes to import

    return fsspec.open(path, "rb").open()


def _read(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _each(files: Iterable[File], units_of: Callable[[File], Iterator[Unit]]) -> Iterator[Unit]:
    """Units of all files; one that proves broken ends with a `Broken` unit, for its reader to judge."""
    for file in files:
        try:
            with reported(Path(file.path)):
                yield from units_of(file)
        except BrokenArchive as error:
            yield Broken(file.path, 0, str(error))


def _archive(file: File) -> Iterator[Unit]:
    if file.path.endswith("_data.xz"):
        yield Archive(file.path, file.size)
        return
    with _open(file.path) as raw:
        contents = members(decompressed(raw, file.path), file.path)
        first = next(contents, b"")
        contents = chain([first], contents)
        if not first.startswith(XZ_MAGIC):
            yield from _pile(file.path, ((content, raw.tell()) for content in contents))
            return
        for number, content in enumerate(contents, start=1):
            yield Archive(f"{file.path}, archive {number} in it", len(content), content)


def _pile(source: str, contents: Iterable[tuple[bytes, int]]) -> Iterator[Documents]:
    """Units of `contents`, each with the number of bytes of the file that are behind it."""
    pile, size, start, position = [], 0, 0, 0
    for content, position in contents:
        pile.append(content)
        size += len(content)
        if size >= UNIT_BYTES:
            yield Documents(source, position - start, tuple(pile))
            pile, size, start = [], 0, position
    if pile:
        yield Documents(source, position - start, tuple(pile))


def _spans(file: File, blank_lines: bool) -> Iterator[Span]:
    start, unit = 0, UNIT_BYTES if blank_lines else LONGEST_DOCUMENT
    while file.size - start > unit:
        with reported(Path(file.path)), _open(file.path) as opened:
            stop = _blank_line(opened, start + unit, start + LONGEST_DOCUMENT) if blank_lines else None
            stop = stop or _space(opened, start, start + LONGEST_DOCUMENT)
        yield Span(file.path, start, stop)
        start = stop
    yield Span(file.path, start, file.size)


def _blank_line(file: BinaryIO, start: int, stop: int) -> int | None:
    """The position after the first blank line between `start` and `stop`, or the file's end if that comes before."""
    width = 1 << 16
    while True:
        content = _read(file, start, min(start + width, stop))
        if found := _BLANK_LINES.search(content):
            return start + found.end()
        if len(content) < width:
            return start + len(content) if start + len(content) < stop else None
        width *= 16


def _space(file: BinaryIO, start: int, stop: int) -> int:
    """The last position up to `stop` that cuts no line, else no word, else no character."""
    content = _read(file, max(start, stop - (1 << 16)), stop)
    cut = max(content.rfind(b"\n"), 0) or max(content.rfind(b" "), 0)
    if not cut:
        cut = next(cut for cut in range(len(content) - 1, 0, -1) if content[cut] & 0xC0 != 0x80)
    return stop - len(content) + cut


def _json_blocks(file: File, field: str) -> Iterator[Unit]:
    with _open(file.path) as raw:
        parts, size, start = [], 0, 0
        for block in decompressed(raw, file.path):
            parts.append(block)
            size += len(block)
            if size > LONGEST_LINE:
                raise BrokenArchive(f"{file.path}: a line of over {LONGEST_LINE >> 20} MB; is it JSON lines?")
            if size >= UNIT_BYTES and (stop := block.rfind(b"\n") + 1):
                parts[-1] = block[:stop]
                yield JsonLines(file.path, raw.tell() - start, b"".join(parts), field)
                parts, size, start = [block[stop:]], len(block) - stop, raw.tell()
        if size:
            yield JsonLines(file.path, raw.tell() - start, b"".join(parts), field)


def _cells(file: File, column: str) -> Iterator[tuple[bytes, int]]:
    import pyarrow as pa  # here: 0.3 s
    from pyarrow import parquet

    try:
        # Without pre-buffering a column is read as it is needed, not a whole row group at once.
        with _open(file.path) as raw, closing(parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20)) as table:
            names = table.schema_arrow.names
            if column not in names:
                raise UserError(f"{file.path}: no column {column!r}; set field= to one of {', '.join(names)}")
            done, rows = 0, table.metadata.num_rows
            for batch in table.iter_batches(batch_size=256, columns=[column], use_threads=False):
                cells = batch.column(0).cast(pa.large_binary())
                done += len(cells)
                for cell in cells.to_pylist():
                    yield cell or b"", file.size * done // rows
    except pa.ArrowNotImplementedError:
        raise UserError(f"{file.path}: column {column!r} holds no text; set field= to one that does") from None
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise  # of the file system, not of what is in the file
        raise BrokenArchive(f"{file.path}: not a Parquet file, or a damaged one ({error}); fetch it again") from None
