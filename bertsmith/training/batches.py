"""Shards → rows → masked batches, in an order that follows from the seed and can be entered anywhere.

An epoch takes the shards in a shuffled order, a few at a time (a group); the rows of a group are shuffled together.
A batch may reach over the end of a group or an epoch. The position (epoch, group, row) is all that resuming needs.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from bertsmith.errors import UserError
from bertsmith.objectives.objective import Batch, Collator
from bertsmith.randomness import derived_rng
from bertsmith.text.segments import GatheredRows, PackedRows, RowSettings, RowSpans, assemble, gather_rows, rows_of
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
        reader = RowReader(self, position)
        while True:
            yield assemble(reader.take(size), self.specials), reader.position

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
            yield assemble(list(_gather(group, slice(start, min(start + size, end)))), self.specials)

    def open_group(self, epoch: int, index: int) -> _Group:
        """Return a group's rows, and begin to fetch the shards of the next one."""
        group = self._opened.pop((epoch, index), None) or self._group(epoch, index)
        self._opened.clear()
        following = self.next_group((epoch, index, 0))
        self.data.fetch_ahead(self.split, self._members(following[0], following[1]))
        return group

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


class RowReader:
    """A place among the rows of a stream, from which they are read.

    Attributes:
        position: of the next row; right after the last one of a group it is that group's end.
    """

    def __init__(self, stream: RowStream, position: tuple[int, ...] = ()):
        self.stream, self.position = stream, position or (0, 0, 0)
        self._group: _Group | None = None

    def take(self, size: int) -> list[GatheredRows]:
        """Read the next `size` rows, in parts."""
        parts: list[GatheredRows] = []
        while size:
            group = self._opened()
            epoch, index, row = self.position
            taken = slice(row, min(row + size, len(group.row)))
            if row < taken.stop:
                parts += _gather(group, taken)
                size -= taken.stop - row
                self.position = (epoch, index, taken.stop)
            else:
                self.position = self.stream.next_group(self.position)
                self._group = None
            del group  # its shards' files, where they are copies, may make room for the next one's
        return parts

    @property
    def tokens_a_row(self) -> float:
        """The text of a row here, special tokens not counted, on average over the group."""
        group = self._opened()
        return sum(len(shard.tokens) for shard, _ in group.shards) / len(group.row)

    def _opened(self) -> _Group:
        if self._group is None:
            self._group = self.stream.open_group(self.position[0], self.position[1])
        return self._group


def _gather(group: _Group, taken: slice) -> Iterator[GatheredRows]:
    """Yield rows of several shards, shard by shard: their order within a batch does not matter."""
    shard, row = group.shard[taken], group.row[taken]
    for number in np.unique(shard).tolist():
        tokens, rows = group.shards[number][0].tokens, group.shards[number][1]
        yield gather_rows(tokens, rows, row[shard == number])


class TrainRows(Protocol):
    """Rows without end, in an order that can be entered anywhere: of one corpus, or of several in a mix."""

    @property
    def seed(self) -> int:
        """That of the order and of the masks."""

    @property
    def split(self) -> str:
        """What they are of."""

    def batches(self, size: int, position: tuple[int, ...] = ()) -> Iterator[tuple[PackedRows, tuple[int, ...]]]:
        """See `RowStream`, as for all that follow."""

    def check(self, position: tuple[int, ...], num_rows: int) -> None: ...

    def next_group(self, position: tuple[int, ...]) -> tuple[int, ...]: ...


class DataStart(NamedTuple):
    """Where batches begin: what was done before, and the position in the data."""

    step: int = 0
    tokens: int = 0
    position: tuple[int, ...] = ()


BEGINNING = DataStart()


def masked_batches(
    stream: TrainRows,
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


def masked_batch(stream: TrainRows, collator: Collator, rows: PackedRows, number: int, progress: float = 0.0) -> Batch:
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
