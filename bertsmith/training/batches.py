"""Shards → rows → masked batches, in an order that follows from the seed and can be entered anywhere.

An epoch takes the shards in a shuffled order, a few at a time (a group); the rows of a group are shuffled together.
A batch may reach over the end of a group or an epoch. The position (epoch, group, row) is all that resuming needs.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bertsmith.errors import UserError
from bertsmith.objectives.objective import Batch, Collator
from bertsmith.randomness import derived_rng
from bertsmith.text.segments import PackedRows, RowSettings, RowSpans, assemble, rows_of
from bertsmith.text.shards import Data, Shard

Item = TypeVar("Item")

GROUP_SHARDS = 4
"""Shards (of 16 M tokens) whose rows are shuffled together: half a million rows of 128, 16 MB of bounds."""


class _Group(NamedTuple):
    """Shuffled rows of a few shards."""

    shards: list[tuple[Shard, RowSpans]]
    shard: np.ndarray
    """[R], which of them a row is from."""
    row: np.ndarray
    """[R], its number there."""


class RowStream:
    """The rows of a split, shuffled, without end."""

    def __init__(self, data: Data, split: str, settings: RowSettings, seed: int, compat: bool = False):
        self.data, self.split, self.settings, self.seed, self.compat = data, split, settings, seed, compat
        if not data.num_tokens(split):
            raise UserError(f"{data.address}: holds no {split} text; prepare more of it, or another heldout_fraction")
        self.num_groups = -(-data.num_shards(split) // GROUP_SHARDS)
        self.specials = (data.tokenizer.cls_id, data.tokenizer.sep_id)
        self._opened: dict[tuple[int, int], _Group] = {}

    def check(self, position: tuple[int, ...], num_rows: int) -> None:
        """Raises UserError where this is not a position that `batches` gives after `num_rows` rows: (epoch, group,
        row), or () before the first."""
        if not position and not num_rows:
            return
        if len(position) != 3:
            raise UserError(f"position {list(position)} is not an epoch, a group and a row")
        epoch, index, row = position
        if index >= self.num_groups or epoch > num_rows or row > num_rows or not num_rows:
            raise UserError(f"position {list(position)} after {num_rows:,} rows of {self.num_groups:,} groups")
        group = self._group(epoch, index)
        self._opened[epoch, index] = group  # it is needed at once
        if row > len(group.row):
            raise UserError(f"row {row:,} of a group of {len(group.row):,}")

    def batches(self, size: int, position: tuple[int, ...] = ()) -> Iterator[tuple[PackedRows, tuple[int, ...]]]:
        """Yield `size` rows at a time from `position` on, each with the position after them."""
        epoch, index, row = position or (0, 0, 0)
        parts, missing = [], size
        while True:
            group = self._opened.pop((epoch, index), None) or self._group(epoch, index)
            self._opened.clear()
            following = self.next_group((epoch, index, row))
            self.data.fetch_ahead(self.split, self._members(following[0], following[1]))
            while row < len(group.row):
                taken = slice(row, min(row + missing, len(group.row)))
                parts.append(self._assemble(group, taken))
                missing -= taken.stop - row
                row = taken.stop
                if not missing:
                    yield _join(parts), (epoch, index, row)
                    parts, missing = [], size
            epoch, index, row = following
            del group  # its shards' files, where they are copies, may make room for the next one's

    def next_group(self, position: tuple[int, ...]) -> tuple[int, ...]:
        """Return the beginning of the group after that of `position`, which may be in rows of another length: groups
        are of the same shards for all of them."""
        epoch, index, _ = position
        return (epoch, index + 1, 0) if index + 1 < self.num_groups else (epoch + 1, 0, 0)

    def first(self, num_rows: int, size: int) -> Iterator[PackedRows]:
        """Yield the first `num_rows` rows of the first group (all it has, if fewer) once, `size` at a time."""
        group = self._group(0, 0)
        end = min(num_rows, len(group.row))
        for start in range(0, end, size):
            yield self._assemble(group, slice(start, min(start + size, end)))

    def _group(self, epoch: int, index: int) -> _Group:
        members, shards = self._members(epoch, index), []
        self.data.fetch_ahead(self.split, members)
        for member in members:
            shard = self.data.read(self.split, member)
            rng = derived_rng(self.seed, "rows", epoch, member)
            shards.append((shard, rows_of(shard, self.settings, rng, self.compat)))
        sizes = [len(rows) for _, rows in shards]
        numbers = np.repeat(np.arange(len(shards)), sizes)
        row = np.concatenate([np.arange(size) for size in sizes])
        shuffled = derived_rng(self.seed, "order", epoch, index).permutation(len(row))
        return _Group(shards, numbers[shuffled], row[shuffled])

    def _members(self, epoch: int, index: int) -> list[int]:
        """Return the numbers of a group's shards."""
        order = derived_rng(self.seed, "shards", epoch).permutation(self.data.num_shards(self.split))
        members: list[int] = order[index * GROUP_SHARDS : (index + 1) * GROUP_SHARDS].tolist()
        return members

    def _assemble(self, group: _Group, taken: slice) -> PackedRows:
        """Assemble rows of several shards, shard by shard: their order within a batch does not matter."""
        shard, row = group.shard[taken], group.row[taken]
        parts = []
        for number in np.unique(shard).tolist():
            tokens, rows = group.shards[number][0].tokens, group.shards[number][1]
            parts.append(assemble(tokens, rows, row[shard == number], self.specials))
        return _join(parts)


def _join(parts: list[PackedRows]) -> PackedRows:
    return parts[0] if len(parts) == 1 else PackedRows(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class DataStart(NamedTuple):
    """Where batches begin: what was done before, and the position in the data."""

    step: int = 0
    tokens: int = 0
    position: tuple[int, ...] = ()


BEGINNING = DataStart()


def masked_batches(
    stream: RowStream,
    collator: Collator,
    size: int,
    start: DataStart = BEGINNING,
    progress: Callable[[int, int], float] = lambda step, tokens: 0.0,
) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Yield masked batches of `size` rows from `start` on, each with the position after it; masks follow from the seed,
    the step and the plan's progress, a function of the steps and tokens before it."""
    step, tokens, position = start
    for rows, next_position in stream.batches(size, position):
        yield masked_batch(stream, collator, rows, step, progress(step, tokens)), next_position
        step, tokens = step + 1, tokens + len(rows.ids)


def masked_batch(stream: RowStream, collator: Collator, rows: PackedRows, number: int, progress: float = 0.0) -> Batch:
    """Return the batch with this number, from its rows."""
    rng = derived_rng(stream.seed, f"masks of {stream.split}", number)
    return collator(rows, rng, progress)


def by_length(lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
    """Yield row numbers of batches for inference, each row once, the shortest first. Padded to its longest row a batch
    has at most `max_tokens` tokens, or one row."""
    order = np.argsort(lengths, kind="stable")
    while len(order):
        nearest = lengths[order[:max_tokens]]
        padded = nearest * np.arange(1, len(nearest) + 1)  # with n rows, n times the last and longest
        size = max(1, int(np.searchsorted(padded, max_tokens, side="right")))
        yield order[:size]
        order = order[size:]


def prefetch(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield the same items, made by a thread up to four ahead of their use; they must have no end."""
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()
    room, stopped = threading.Semaphore(4), threading.Event()

    def make() -> None:
        try:
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                made.put((next(items), None))
        except BaseException as error:
            made.put((None, error))

    maker = threading.Thread(target=make, daemon=True, name="batches")
    maker.start()
    try:
        while True:
            item, error = made.get()
            room.release()
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        room.release()  # to a thread that waits for it
        maker.join()  # the interpreter may abort if it ends while a thread is inside of torch
