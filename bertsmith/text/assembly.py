"""Shards are put together by workers as soon as all their documents are there, and noted down in order."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bertsmith.text.engines.engine import Pending, Workers
from bertsmith.text.journal import Journal
from bertsmith.text.pieces import ShardWriter, Span
from bertsmith.text.shards import SPLITS


@dataclass
class _Begun:
    """A shard that workers were told to put together."""

    spans: list[Span]
    writing: Pending  # which returns a `WrittenShard`
    publishing: Pending | None = None


class Assembly:
    """The full shards of a journal's preparation, given to workers that share a `ShardWriter`, a bounded number at a
    time. A shard takes its names when the one after it is written."""

    def __init__(self, journal: Journal, workers: Workers, used: Callable[[list[Span]], None]):
        """With `used`, which is called with the spans of each shard that is closed."""
        self._journal, self._workers, self._used = journal, workers, used
        self._begun: dict[str, deque[_Begun]] = {split: deque() for split in SPLITS}

    def go_on(self) -> None:
        """Begin shards that are full by now, and close those that are done."""
        for split, begun in self._begun.items():
            self._begin(split)
            for shard, following in pairwise(begun):
                if shard.writing.done() and following.writing.done():
                    self._publish(shard)
            while begun and begun[0].publishing is not None and begun[0].publishing.done():
                self._close(split)

    def finish(self) -> None:
        """Close all shards, also those that are not full."""
        for split in SPLITS:
            self._journal.done.cutters[split].finish()
        while self._begin("train") + self._begin("heldout"):
            for begun in self._begun.values():
                for shard in begun:
                    self._publish(shard)
            for split, begun in self._begun.items():
                for _ in range(len(begun)):
                    self._close(split)

    def _begin(self, split: str) -> int:
        """Return how many of the split's shards are with workers."""
        full, begun = self._journal.done.cutters[split].full, self._begun[split]
        while len(begun) < min(len(full), self._workers.num_tasks + 1):  # one waits for its names
            spans, index = full[len(begun)], len(self._journal.done.shards[split]) + len(begun)
            begun.append(_Begun(spans, self._workers.submit(ShardWriter.write_shard, split, index, spans)))
        return len(begun)

    def _publish(self, shard: _Begun) -> None:
        if shard.publishing is None:
            shard.publishing = self._workers.submit(ShardWriter.publish_shard, shard.writing.result())

    def _close(self, split: str) -> None:
        shard = self._begun[split].popleft()
        assert shard.publishing is not None
        shard.publishing.result()
        self._used(self._journal.close_shard(split, shard.spans, shard.writing.result().hashes))


def remove_pieces(spans: list[Span]) -> None:
    """Remove the files of pieces that are in a shard."""
    for span in spans:
        with suppress(FileNotFoundError):
            Path(span.places[0].path).unlink()
