"""Shards are put together by workers as soon as all their documents are there, and noted down in order."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bertsmith.text.engines.engine import Pending, Workers
from bertsmith.text.journal import Journal
from bertsmith.text.pieces import ShardWriter, Span
from bertsmith.text.shards import SPLITS


class _Begun(NamedTuple):
    """A shard that a worker was told to put together."""

    spans: list[Span]
    task: Pending  # which returns file name → sha256


class Assembly:
    """The full shards of a journal's preparation, given to workers that share a `ShardWriter`, a bounded number at a
    time."""

    def __init__(self, journal: Journal, workers: Workers, used: Callable[[list[Span]], None]):
        """With `used`, which is called with the spans of each shard that is closed."""
        self._journal, self._workers, self._used = journal, workers, used
        self._begun: dict[str, deque[_Begun]] = {split: deque() for split in SPLITS}

    def go_on(self) -> None:
        """Begin shards that are full by now, and close those that are done."""
        for split in SPLITS:
            self._begin(split)
            while self._begun[split] and self._begun[split][0].task.done():
                self._close(split)

    def finish(self) -> None:
        """Close all shards, also those that are not full."""
        for split in SPLITS:
            self._journal.done.cutters[split].finish()
        while self._begin("train") + self._begin("heldout"):
            for split in SPLITS:
                if self._begun[split]:
                    self._close(split)

    def _begin(self, split: str) -> int:
        """Return how many of the split's shards are with workers."""
        full, begun = self._journal.done.cutters[split].full, self._begun[split]
        while len(begun) < min(len(full), self._workers.num_tasks):
            spans, index = full[len(begun)], len(self._journal.done.shards[split]) + len(begun)
            begun.append(_Begun(spans, self._workers.submit(ShardWriter.assemble, split, index, spans)))
        return len(begun)

    def _close(self, split: str) -> None:
        spans, task = self._begun[split].popleft()
        self._used(self._journal.close_shard(split, spans, task.result()))


def remove_pieces(spans: list[Span]) -> None:
    """Remove the files of pieces that are in a shard."""
    for span in spans:
        with suppress(FileNotFoundError):
            Path(span.places[0].path).unlink()
