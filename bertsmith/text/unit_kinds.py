"""Parts of a corpus: what one worker reads at a time. A unit in, documents out."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from bertsmith.errors import quoted
from bertsmith.storage.files import reported
from bertsmith.text.archives import members
from bertsmith.text.blank_lines import split_at_blank_lines
from bertsmith.text.compression import BrokenArchive, OnBroken, archive_kind, decompressed, refuse
from bertsmith.text.text_files import LONGEST_DOCUMENT, Span, open_file, read_span

LONGEST_LINE = 32 << 20
"""Bytes of a line of JSON, which has to be held whole; JSON takes up to 24 times its size."""


class Unit(Protocol):
    """A part of a corpus, which can be pickled."""

    @property
    def source(self) -> str:
        """The file it is from, for messages."""

    @property
    def size(self) -> int:
        """Its share of the bytes of the corpus's files."""

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        """Return the unit's documents in order; those that cannot be had are counted in `skipped` by their reason, and
        `broken` is told of files and members that are broken or too large.

        Raises:
            BrokenArchive: the file is truncated, corrupt or hostile, and all of the unit is lost.
            UserError: the file cannot be read.
        """


@dataclass(frozen=True)
class Archive:
    """A tar archive, compressed or not, of documents."""

    source: str
    size: int
    content: bytes | None = None
    """None where `source` is the archive itself."""

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        size = 0
        with reported(Path(self.source)), self._open() as file:
            for content in members(decompressed(file, self.source), self.source, skipped, broken):
                size += len(content)
                if size > LONGEST_DOCUMENT:
                    raise BrokenArchive(
                        f"{self.source}: over {LONGEST_DOCUMENT >> 20} MB of text, the most of an archive that is read "
                        f"as one piece; unpack it"
                    )
                if kind := archive_kind(content):
                    broken(among_texts(self.source, kind))
                else:
                    yield content

    def _open(self) -> BinaryIO:
        return open_file(self.source) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class Documents:
    """Documents at hand."""

    source: str
    size: int
    contents: tuple[bytes, ...]
    skipped: Counter[str] = field(default_factory=Counter)
    """What was passed over between them, by reason."""

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        skipped.update(self.skipped)
        return iter(self.contents)


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

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        for span in self.spans:
            with reported(Path(span.path)), open_file(span.path) as file:
                content = read_span(file, span.start, span.stop)
            if not span.start and (kind := archive_kind(content)):
                broken(among_texts(span.path, kind))
            elif self.blank_lines:
                yield from split_at_blank_lines(content)
            else:
                yield content


@dataclass(frozen=True)
class JsonLines:
    """Lines that are JSON objects."""

    source: str
    size: int
    content: bytes
    key: str

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        for line in io.BytesIO(self.content):
            if line.isspace():
                continue
            if len(line) > LONGEST_LINE:
                broken(long_line(self.source))
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
class Broken:
    """Where a broken part of a file, or the rest of it, would have been."""

    source: str
    size: int
    reason: str

    def documents(self, skipped: Counter[str], broken: OnBroken = refuse) -> Iterator[bytes]:
        broken(BrokenArchive(self.reason))
        return iter(())


def among_texts(source: str, kind: str) -> BrokenArchive:
    """Return what is wrong with an archive where a text is wanted."""
    return BrokenArchive(f"{source}: {kind} among texts; unpack it, or take it out")


def long_line(source: str) -> BrokenArchive:
    """Return what is wrong with a line of JSON that is too long."""
    return BrokenArchive(f"{source}: a line of over {LONGEST_LINE >> 20} MB, the most that is read; is it JSON lines?")
