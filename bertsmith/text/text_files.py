"""Text files, and where big ones are cut."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bertsmith.storage.files import reported
from bertsmith.text.blank_lines import find_blank_line

LONGEST_DOCUMENT = 128 << 20
"""Bytes; what a text file holds beyond it becomes another document, so that memory stays bounded: a document takes up
to 6 times its size while it is encoded."""


class CorpusFile(NamedTuple):
    path: str
    """Local, or a URL."""
    size: int
    """In bytes, as stored."""


class Span(NamedTuple):
    """A part of a text file, in bytes; it begins and ends between documents."""

    path: str
    start: int
    stop: int


def open_file(path: str) -> BinaryIO:
    """Open a file for reading, local or of a URL."""
    if "://" not in path:
        return open(path, "rb")
    import fsspec  # here: 0.14 s, a third of what the room takes to import

    return fsspec.open(path, "rb").open()


def read_span(file: BinaryIO, start: int, stop: int) -> bytes:
    """Return the file's bytes from `start` to `stop`, or to its end."""
    file.seek(start)
    return file.read(stop - start)


def spans_of(file: CorpusFile, blank_lines: bool, part: int) -> Iterator[Span]:
    """Yield the parts of a text file, of about `part` bytes where blank lines part its documents."""
    start, unit = 0, part if blank_lines else LONGEST_DOCUMENT
    while file.size - start > unit:
        with reported(Path(file.path)), open_file(file.path) as opened:
            stop = _blank_line(opened, start + unit, start + LONGEST_DOCUMENT) if blank_lines else None
            stop = stop or _space(opened, start, start + LONGEST_DOCUMENT)
        yield Span(file.path, start, stop)
        start = stop
    yield Span(file.path, start, file.size)


def _blank_line(file: BinaryIO, start: int, stop: int) -> int | None:
    """Return the position after the first blank line between `start` and `stop`, or the file's end if that comes
    before."""
    width = 1 << 16
    while True:
        content = read_span(file, start, min(start + width, stop))
        if (end := find_blank_line(content)) is not None:
            return start + end
        if len(content) < width:
            return start + len(content) if start + len(content) < stop else None
        width *= 16


def _space(file: BinaryIO, start: int, stop: int) -> int:
    """Return the last position up to `stop` that cuts no line, else no word, else no character."""
    content = read_span(file, max(start, stop - (1 << 16)), stop)
    cut = max(content.rfind(b"\n"), 0) or max(content.rfind(b" "), 0)
    if not cut:
        cut = next(cut for cut in range(len(content) - 1, 0, -1) if content[cut] & 0xC0 != 0x80)
    return stop - len(content) + cut
