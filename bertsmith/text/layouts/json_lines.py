"""A field of files of JSON lines, plain or compressed."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bertsmith.errors import quoted
from bertsmith.text.compression import OnBroken, UnreadableInput, decompressed, refuse
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


def json_line_parts(files: Iterable[layout.CorpusFile], field: str) -> Iterator[layout.CorpusPart]:
    """Return the parts of files of JSON lines."""

    def parts_of(file: layout.CorpusFile) -> Iterator[layout.CorpusPart]:
        with layout.open_file(file.path) as raw:
            start = 0
            for lines in _whole_lines(decompressed(raw, file.path), file.path):
                if isinstance(lines, UnreadableInput):
                    yield layout.BrokenPart(file.path, 0, str(lines))
                else:
                    yield JsonLinesPart(file.path, raw.tell() - start, lines, field)
                    start = raw.tell()

    return layout.parts_of_each(files, parts_of)


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
            if size < min(layout.PART_BYTES, LONGEST_LINE):
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
)
