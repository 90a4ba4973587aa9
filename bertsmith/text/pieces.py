"""The tokens of a part of a corpus as its worker left them, and the shards that are put together of them.

A piece is a file with the documents of one split of one part. Which pieces make a shard follows from their lengths
alone, so any worker can put a shard together once those are known, whoever made them and in whatever order.
"""

import hashlib
import os
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from bertsmith.errors import UserError
from bertsmith.storage.files import TEMPORARY, begin_write_back, create, own_folder, sync_file
from bertsmith.storage.remote import upload
from bertsmith.text import shards
from bertsmith.text.shard_checks import npy_header
from bertsmith.text.shards import ARRAYS, Shard, shard_file

PIECES_FOLDER = f"pieces{TEMPORARY}"
"""In a data folder that is being made: pieces, and shards that are being put together."""

_POSITIONS = np.dtype(np.uint32)
BLOCK_ENTRIES = 1 << 22  # of an array that are copied at once

Lengths = tuple[int, int, int]
"""The number of tokens, lines and documents."""


class Place(NamedTuple):
    """Consecutive entries of an array in a file."""

    path: str
    offset: int  # in bytes
    length: int  # in entries
    dtype: np.dtype

    @property
    def stop(self) -> int:
        """The position after it, in bytes."""
        return self.offset + self.length * self.dtype.itemsize

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield its entries in blocks. Raises UserError where the file has fewer."""
        for start in range(0, self.length, BLOCK_ENTRIES):
            length = min(BLOCK_ENTRIES, self.length - start)
            block = np.fromfile(self.path, self.dtype, length, offset=self.offset + start * self.dtype.itemsize)
            if len(block) < length:
                raise UserError(f"{self.path}: shorter than when it was written; run the same command again")
            yield block


class Span(NamedTuple):
    """Consecutive documents of one split in files: a piece, or a stretch of a shard.

    Attributes:
        places: of its tokens, line ends and document ends, as in `Shard`.
        base: the position of its first token in what the ends count from.
    """

    places: tuple[Place, Place, Place]
    base: int = 0

    @property
    def lengths(self) -> Lengths:
        tokens, lines, documents = (place.length for place in self.places)
        return tokens, lines, documents

    def joined(self, following: "Span") -> "Span | None":
        """Return both as one where `following` begins in the same files where this one ends."""
        pairs = list(zip(self.places, following.places, strict=True))
        if any(one.path != other.path or one.stop != other.offset for one, other in pairs):
            return None
        tokens, lines, documents = (one._replace(length=one.length + other.length) for one, other in pairs)
        return Span((tokens, lines, documents), self.base)

    def is_on_disk(self) -> bool:
        """Return whether its files are there and long enough; a power cut may have shortened them."""
        return all(os.path.isfile(place.path) and os.path.getsize(place.path) >= place.stop for place in self.places)


def open_pieces_folder(folder: Path) -> None:
    """Make the folder of pieces in a data folder, or clear it of what killed workers have left half-written."""
    for path in own_folder(folder / PIECES_FOLDER).iterdir():
        if path.suffix.removeprefix(".") not in shards.SPLITS:
            path.unlink(missing_ok=True)


def piece_span(folder: Path, number: int, split: str, lengths: Lengths, dtype: np.dtype) -> Span:
    """Return where the piece of part `number` is in the data folder."""
    path = piece_path(folder, number, split)
    tokens = Place(path, 0, lengths[0], dtype)
    lines = Place(path, tokens.stop, lengths[1], _POSITIONS)
    return Span((tokens, lines, Place(path, lines.stop, lengths[2], _POSITIONS)))


def piece_path(folder: Path, number: int, split: str) -> str:
    """Return the file of the piece of part `number`; a text, since a command makes some of each part."""
    return f"{folder}/{PIECES_FOLDER}/{number:08d}.{split}"


def write_piece(folder: Path, number: int, split: str, shard: Shard) -> Lengths:
    """Write the documents of part `number` that are of this split, if there are any, and return their lengths."""
    arrays, dtype = (shard.tokens, shard.line_ends, shard.document_ends), shard.tokens.dtype
    lengths: Lengths = (len(shard.tokens), len(shard.line_ends), len(shard.document_ends))
    if len(shard.document_ends):
        path = Path(piece_path(folder, number, split))
        temporary = _own_name(path)
        with FileIO(create(temporary), "w") as file:
            for array, place in zip(arrays, piece_span(folder, number, split, lengths, dtype).places, strict=True):
                _write(file, np.ascontiguousarray(array, place.dtype).data)
        temporary.replace(path)
    return lengths


class ShardCutter:
    """The spans of one split in the corpus's order, and the shards that they make: one is full when it has
    `SHARD_TOKENS`, and the next span begins another.

    Attributes:
        full: spans of each shard that is full and not yet closed.
        open: spans of the one that is not full.
        num_shards: how many were full so far, the closed ones too.
    """

    def __init__(self) -> None:
        self.full: deque[list[Span]] = deque()
        self.open: list[Span] = []
        self.num_shards = 0
        self._tokens = 0

    def add(self, span: Span) -> None:
        if not span.lengths[2]:
            return
        if self._tokens >= shards.SHARD_TOKENS:
            self.finish()
        self._tokens += span.lengths[0]
        if self.open and (joined := self.open[-1].joined(span)):
            self.open[-1] = joined
        else:
            self.open.append(span)

    def finish(self) -> None:
        """Call the open shard full, whatever it holds; there is none without a document."""
        if self.open:
            self.full.append(self.open)
            self.num_shards += 1
            self.open, self._tokens = [], 0


class WrittenShard(NamedTuple):
    """A shard whose files do not have their names yet."""

    hashes: dict[str, str]  # file name → sha256
    files: dict[str, str]  # file name → where it is


@dataclass(frozen=True)
class ShardWriter:
    """A writer of the shards of a data folder, which workers are given. A shard is written by one task, and by a later
    one it takes its names: the disk has been at work in between, and no worker waits for it."""

    folder: Path
    address: str | None = field(default=None, kw_only=True)
    """Where shards are written, if not in the folder."""
    syncs_at_once: bool = field(default=False, kw_only=True)
    """Whether what is written is on disk when `write_shard` returns: where `publish_shard` may run on another
    machine."""

    def on_many_machines(self) -> Self:
        """Return the same for workers on several machines."""
        return replace(self, syncs_at_once=True)

    def write_shard(self, split: str, index: int, spans: Sequence[Span]) -> WrittenShard:
        """Write a shard of these spans. Raises UserError where a span's file is gone or too short."""
        written = WrittenShard({}, {})
        for number, array in enumerate(ARRAYS):
            name = shard_file(split, index, array)
            path = _own_name(self.folder / PIECES_FOLDER / name)
            written.files[name] = str(path)
            written.hashes[name] = _write_array(path, spans, number, self.syncs_at_once)
        return written

    def publish_shard(self, written: WrittenShard) -> None:
        """Give a shard's files their names; once it has them, it is whole and on disk, or at the address. Raises
        UserError where the address cannot be written."""
        for name, path in written.files.items():
            try:
                self._publish(name, path)
            except FileNotFoundError:
                if self.address is None and not (self.folder / name).exists():
                    raise  # else a worker was lost after it had done this

    def _publish(self, name: str, path: str) -> None:
        if self.address is None:
            sync_file(path)
            os.replace(path, self.folder / name)
        else:
            upload(Path(path), f"{self.address}/{name}")
            os.unlink(path)


def sum_lengths(spans: Sequence[Span]) -> Lengths:
    """Return the lengths of a shard of these spans."""
    tokens, lines, documents = (sum(span.lengths[number] for span in spans) for number in range(len(ARRAYS)))
    return tokens, lines, documents


def _write_array(path: Path, spans: Sequence[Span], number: int, syncs: bool) -> str:
    """Write one of a shard's arrays (of `ARRAYS` the `number`th) as a .npy file, and return its sha256; it is on disk
    then if `syncs`, else on the way there."""
    dtype, held = spans[0].places[number].dtype, 0
    digest = hashlib.sha256()
    assert sum_lengths(spans)[0] < 1 << 32, "positions are 32-bit"
    with FileIO(create(path), "w") as file:

        def write(content: bytes | memoryview) -> None:
            digest.update(content)
            _write(file, content)

        write(npy_header(dtype, sum_lengths(spans)[number]))
        for span in spans:
            for block in span.places[number].blocks():
                if number:
                    block += np.uint32((held - span.base) % (1 << 32))  # wraps round where the span lies further back
                write(block.data)
            held += span.lengths[0]
        if syncs:
            os.fsync(file.fileno())
        else:
            begin_write_back(file.fileno())
    return digest.hexdigest()


def _own_name(path: Path) -> Path:
    """Return a name that `path` has while it is written, and nobody else's: another process may be at the same file,
    such as a worker that outlives a killed command by a moment."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}")


def _write(file: FileIO, content: bytes | memoryview) -> None:
    """Write all of `content`: an unbuffered file takes what fits the disk, and fails at the next byte."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]
