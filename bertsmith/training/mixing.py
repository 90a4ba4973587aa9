"""Several corpora mixed: rows of each, so many a batch that its share of the training tokens is its weight.

How many follows from what was read of each so far, which is part of the position in the data. So shares are kept from
one batch to the next to within a row or two, and not by chance; which rows of a corpus come, and in which order, is as
of this corpus alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bertsmith.errors import UserError
from bertsmith.text.segments import GatheredRows, PackedRows, RowSettings, assemble
from bertsmith.text.shards import Data
from bertsmith.training.batches import RowReader, RowStream, TrainRows

NUMBERS = 4
"""Of each corpus in a position: those of its `RowStream`, and how many of its tokens were read."""


class MixedRows:
    """The training rows of several corpora in shuffled order, without end.

    A position is (epoch, group, row, tokens) of each corpus, one after another.
    """

    split = "train"

    def __init__(self, data: Data, shares: Mapping[str, float], settings: RowSettings, seed: int, compat: bool):
        """Mix the corpora that `shares` names; a share is of the tokens, and they add up to 1."""
        self.seed = seed
        self.streams = [RowStream(data.corpora[name], self.split, settings, seed, compat) for name in shares]
        self.shares = np.array(list(shares.values()))
        self.specials = self.streams[0].specials

    def check(self, position: tuple[int, ...], num_rows: int) -> None:
        """Raises UserError where this is not a position that `batches` gives after `num_rows` rows, or () before."""
        if not position and not num_rows:
            return
        if len(position) != NUMBERS * len(self.streams):
            raise UserError(f"position {list(position)} is not of {len(self.streams)} corpora")
        places = self._places(position)
        for stream, place in zip(self.streams, places, strict=True):
            stream.check(place[:-1], num_rows)
        if min(place[-1] for place in places) < 0:
            raise UserError(f"position {list(position)} with less than no token read")

    def batches(self, size: int, position: tuple[int, ...] = ()) -> Iterator[tuple[PackedRows, tuple[int, ...]]]:
        """Yield `size` rows at a time from `position` on, each with the position after them."""
        places = self._places(position) or [()] * len(self.streams)
        readers = [RowReader(stream, place[:-1]) for stream, place in zip(self.streams, places, strict=True)]
        tokens = np.array([place[-1] if place else 0 for place in places])
        while True:
            parts: list[GatheredRows] = []
            for number, rows in enumerate(rows_of_each(self.shares, tokens, [r.tokens_a_row for r in readers], size)):
                taken = readers[number].take(rows)
                tokens[number] += sum(len(part.ids) for part in taken)
                parts += taken
            pairs = zip(readers, tokens.tolist(), strict=True)
            after = tuple(value for reader, done in pairs for value in (*reader.position, done))
            yield assemble(parts, self.specials), after

    def next_group(self, position: tuple[int, ...]) -> tuple[int, ...]:
        """Return the beginning of each corpus's next group, see `RowStream.next_group`, or of its own, where none of
        its rows was read yet; shares are kept over both."""
        pairs = zip(self.streams, self._places(position), strict=True)
        begun = ((stream.next_group(place[:-1]) if place[2] else place[:-1], place[-1]) for stream, place in pairs)
        return tuple(value for place, tokens in begun for value in (*place, tokens))

    def tokens_at(self, position: tuple[int, ...]) -> int:
        """Return how many tokens of text were read before a position."""
        return sum(place[-1] for place in self._places(position))

    def _places(self, position: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the position's numbers by corpus."""
        return [position[start : start + NUMBERS] for start in range(0, len(position), NUMBERS)]


def rows_of_each(shares: np.ndarray, tokens: np.ndarray, tokens_a_row: Sequence[float], size: int) -> list[int]:
    """Return how many of a batch's `size` rows are of each corpus, so that after it their tokens are nearest to their
    shares.

    Args:
        shares: [C] float64, of all tokens; they add up to 1.
        tokens: [C] int64, read of each so far.
        tokens_a_row: of each, on average.
    """
    means, free = np.array(tokens_a_row), np.ones(len(shares), dtype=bool)
    wanted = np.zeros(len(shares))
    while True:  # each time round one more that has had too much already is left out
        per_token = shares[free] / means[free]
        total = (size + (tokens[free] / means[free]).sum()) / per_token.sum()  # of tokens, after the batch
        wanted[free] = per_token * total - tokens[free] / means[free]
        if (wanted[free] >= 0).all():
            break
        free &= wanted >= 0
        wanted[~free] = 0.0
    rows = np.floor(wanted).astype(np.int64)
    rows[np.argsort(rows - wanted, kind="stable")[: size - int(rows.sum())]] += 1
    return [int(number) for number in rows]


def open_rows(data: Data, shares: Mapping[str, float], rows: RowSettings, seed: int, compat: bool) -> TrainRows:
    """Return the training rows of data of one corpus, for which there are no `shares`, or of a mix."""
    if shares:
        return MixedRows(data, shares, rows, seed, compat)
    return RowStream(data, "train", rows, seed, compat)


def data_identity(data: Data, shares: Mapping[str, float]) -> dict[str, Any]:
    """Return what decides the training rows of a run besides its recipe: the data, and the shares of its corpora."""
    return {"data": data.hash} | ({"weights": dict(shares)} if shares else {})
