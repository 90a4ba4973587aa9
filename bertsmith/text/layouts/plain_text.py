"""Text files: small ones together, big ones in parts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bertsmith.storage.files import reported
from bertsmith.storage.remote import read_ranges
from bertsmith.text.blank_lines import find_blank_line, split_at_blank_lines
from bertsmith.text.compression import OnBroken, archive_format, refuse
from bertsmith.text.layouts import layout

_MAX_FILES = 4096  # of a part with small files
_FETCHED = 64  # files behind addresses that are fetched side by side


class ByteRange(NamedTuple):
    """A range of a text file's bytes, which begins and ends between documents."""

    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class TextFilesPart:
    """A part of a corpus: text files, or ranges of big ones."""

    spans: tuple[ByteRange, ...]
    blank_lines: bool

    @property
    def source(self) -> str:
        return self.spans[0].path

    @property
    def size(self) -> int:
        return sum(span.stop - span.start for span in self.spans)

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        for span, content in _contents(self.spans):
            if not span.start and (found := archive_format(content)):
                broken(layout.among_texts(span.path, found))
            elif self.blank_lines:
                yield from split_at_blank_lines(content)
            else:
                yield content


def _contents(spans: Sequence[ByteRange]) -> Iterator[tuple[ByteRange, bytes]]:
    """Yield spans with their bytes; those behind an address are fetched several at a time."""
    if not layout.is_address(spans[0].path):
        for span in spans:
            with reported(Path(span.path)):
                yield span, layout.read_range(span.path, span.start, span.stop)
        return
    for first in range(0, len(spans), _FETCHED):  # together hardly more than a part
        some = spans[first : first + _FETCHED]
        yield from zip(some, read_ranges(some), strict=True)


def text_parts(files: Iterable[layout.CorpusFile], blank_lines: bool) -> Iterator[layout.CorpusPart]:
    """Yield the parts of text files, whose documents are separated by blank lines, or are a file each."""
    spans, size = [], 0
    for span in chain.from_iterable(_spans(file, blank_lines) for file in files):
        spans.append(span)
        size += span.stop - span.start
        if size >= layout.PART_BYTES or len(spans) >= _MAX_FILES:
            yield TextFilesPart(tuple(spans), blank_lines)
            spans, size = [], 0
    if spans:
        yield TextFilesPart(tuple(spans), blank_lines)


def _spans(file: layout.CorpusFile, blank_lines: bool) -> Iterator[ByteRange]:
    """Yield the spans of a text file, of about `PART_BYTES` where blank lines separate its documents."""
    start, size = 0, layout.PART_BYTES if blank_lines else layout.LONGEST_DOCUMENT
    while file.size - start > size:
        with reported(Path(file.path)), layout.open_file(file.path) as opened:
            stop = _blank_line(opened, start + size, start + layout.LONGEST_DOCUMENT) if blank_lines else None
            stop = stop or _space(opened, start, start + layout.LONGEST_DOCUMENT)
        yield ByteRange(file.path, start, stop)
        start = stop
    yield ByteRange(file.path, start, file.size)


def _read(file: BinaryIO, start: int, stop: int) -> bytes:
    """Return the file's bytes from `start` to `stop`, or to its end."""
    file.seek(start)
    return file.read(stop - start)


def _blank_line(file: BinaryIO, start: int, stop: int) -> int | None:
    """Return the position after the first blank line between `start` and `stop`, or the file's end if that comes
    before."""
    width = 1 << 16
    while True:
        content = _read(file, start, min(start + width, stop))
        if (end := find_blank_line(content)) is not None:
            return start + end
        if len(content) < width:
            return start + len(content) if start + len(content) < stop else None
        width *= 16


def _space(file: BinaryIO, start: int, stop: int) -> int:
    """Return the last position up to `stop` that cuts no line, else no word, else no character."""
    content = _read(file, max(start, stop - (1 << 16)), stop)
    cut = max(content.rfind(b"\n"), 0) or max(content.rfind(b" "), 0)
    if not cut:
        cut = next(cut for cut in range(len(content) - 1, 0, -1) if content[cut] & 0xC0 != 0x80)
    return stop - len(content) + cut


PLAIN_TEXT = layout.Layout(
    ((".txt",),),
    lambda files, recipe: text_parts(files, blank_lines=recipe.documents == "blank_lines"),
    ".txt files",
)
