"""A field of files of JSON lines, plain or compressed.

A plain file is cut into ranges of bytes, of which the workers read each their own; a compressed one can only be read
forwards, where the parts are listed.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import reported
from bertsmith.text import compression
from bertsmith.text.compression import OnBroken, UnreadableInput, decompressed, is_compressed, refuse
from bertsmith.text.layouts import layout

LONGEST_LINE = 32 << 20  # bytes of a line of JSON, which has to be held whole; JSON takes up to 24 times its size


@dataclass(frozen=True)
class JsonLinesPart:
    """A part of a corpus: lines that are JSON objects."""

    source: str
    size: int
    content: bytes
    key: str

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        for line in io.BytesIO(self.content):
            if line.isspace():
                continue
            if len(line) > LONGEST_LINE:
                broken(_long_line(self.source))
                continue
            try:
                yield json.loads(line)[self.key].encode()
            except UnicodeError:  # in the line, or a lone surrogate in the text; a kind of ValueError
                skipped["not UTF-8"] += 1
            except (ValueError, RecursionError):
                if not line.isascii() and not line.decode(errors="replace").strip():
                    continue
                skipped["not JSON"] += 1
            except (KeyError, TypeError, AttributeError):
                skipped[f"no text in field {quoted(self.key, 60)}"] += 1


@dataclass(frozen=True)
class JsonLinesRange:
    """A part of a corpus: the lines in a range of a plain file's bytes."""

    source: str
    start: int
    stop: int
    key: str

    @property
    def size(self) -> int:
        return self.stop - self.start

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        with reported(Path(self.source)):
            content = layout.read_range(self.source, self.start, self.stop)
        if len(content) < self.size:
            raise UserError(
                f"{self.source}: is shorter than when it was listed; run the same command on what it is now"
            )
        yield from JsonLinesPart(self.source, self.size, content, self.key).documents(skipped, broken)


def json_line_parts(files: Iterable[layout.CorpusFile], field: str) -> Iterator[layout.CorpusPart]:
    """Return the parts of files of JSON lines."""

    def parts_of(file: layout.CorpusFile) -> Iterator[layout.CorpusPart]:
        if not is_compressed(layout.read_range(file.path, 0, compression.CHUNK_BYTES), file.path):
            for found in _line_ranges(file):
                if isinstance(found, UnreadableInput):
                    yield layout.BrokenPart(file.path, 0, str(found))
                else:
                    yield JsonLinesRange(file.path, *found, field)
            return
        with layout.open_file(file.path, file.size) as raw:
            start = 0
            for lines in _whole_lines(decompressed(raw, file.path), file.path):
                if isinstance(lines, UnreadableInput):
                    yield layout.BrokenPart(file.path, 0, str(lines))
                else:
                    yield JsonLinesPart(file.path, raw.tell() - start, lines, field)
                    start = raw.tell()

    return layout.parts_of_each(files, parts_of)


def _line_ranges(file: layout.CorpusFile) -> Iterator[tuple[int, int] | UnreadableInput]:
    """Yield the starts and ends of the pieces that `_whole_lines` cuts the content of `file` into, of which little more
    than their ends is read."""
    path, size, chunk = file.path, file.size, compression.CHUNK_BYTES
    start, stop, is_long = 0, 0, False  # of the piece; the end of the block that is looked at; in a long line
    while stop < size:
        wanted = 0 if is_long else -(-(start + _least_bytes()) // chunk) * chunk
        stop = min(size, max(stop + chunk, wanted))
        first = (stop - 1) // chunk * chunk
        if is_long:
            found = layout.read_range(path, first, stop).find(b"\n") + 1
            if not found:
                continue
            start, is_long = first + found, False
        if stop - start < _least_bytes():
            continue
        is_over = stop - start > LONGEST_LINE
        if end := _last_line_end(path, start if is_over else max(start, first), stop):
            yield start, end
            start = end
        if stop - start > LONGEST_LINE:
            yield _long_line(path)
            is_long = True
    if start < size and not is_long:
        yield start, size


def _last_line_end(path: str, start: int, stop: int) -> int:
    """Return the position after the last line feed between `start` and `stop`; 0 where there is none."""
    while stop > start:
        first = max(start, stop - compression.CHUNK_BYTES)
        if found := layout.read_range(path, first, stop).rfind(b"\n") + 1:
            return first + found
        stop = first
    return 0


def _least_bytes() -> int:
    """Return the bytes from which on a piece is cut."""
    return min(layout.PART_BYTES, LONGEST_LINE)


def _whole_lines(blocks: Iterator[bytes], source: str) -> Iterator[bytes | UnreadableInput]:
    """Yield the content of `blocks`, cut between lines into pieces of `PART_BYTES`, with an error in place of a long
    line."""
    pieces, size, is_long = [], 0, False
    try:
        for block in blocks:
            if is_long:
                stop = block.find(b"\n") + 1
                if not stop:
                    continue
                block, is_long = block[stop:], False
            pieces.append(block)
            size += len(block)
            if size < _least_bytes():
                continue
            content = b"".join(pieces) if b"\n" in block or size > LONGEST_LINE else b""
            if stop := content.rfind(b"\n") + 1:
                yield content[:stop]
                pieces, size = [content[stop:]], len(content) - stop
            if size > LONGEST_LINE:
                yield _long_line(source)
                pieces, size, is_long = [], 0, True
    except UnreadableInput:
        if lines := b"".join(pieces).rpartition(b"\n")[0]:
            yield lines
        raise
    if size:
        yield b"".join(pieces)


def _long_line(source: str) -> UnreadableInput:
    return UnreadableInput(
        f"{source}: a line of over {LONGEST_LINE >> 20} MB, the most that is read; is it JSON lines?"
    )


JSON_LINES = layout.Layout(
    ((".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.zst", ".jsonl.bz2"),),
    lambda files, recipe: json_line_parts(files, recipe.field),
    "JSON lines, plain or compressed (.gz, .xz, .zst, .bz2)",
    by_file=lambda files: True,
)
