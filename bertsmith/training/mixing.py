"""Several corpora mixed: rows of each, so many a batch that its share of the training tokens is its weight.

How many follows from what was read of each so far, which is part of the position in the data. So shares are kept from
one batch to the next to within a row or two, and not by chance; which rows of a corpus come, and in which order, is as
of this corpus alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bertsmith.errors import UserError, quoted
from bertsmith.text.segments import GatheredRows, PackedRows, RowSettings, assemble
from bertsmith.text.shards import Data
from bertsmith.training.batches import RowReader, RowStream, TrainRows

NUMBERS = 4
"""Of each corpus in a position: those of its `RowStream`, and how many of its tokens were read."""

MAX_EPOCHS = 4
"""Of one corpus, beyond which text is worth less at each repetition (Muennighoff et al. 2023, section 6)."""


class MixedRows:
    """The training rows of several corpora in shuffled order, without end.

    A position is (epoch, group, row, tokens) of each corpus, one after another.
    """

    split = "train"

    def __init__(self, data: Data, shares: Mapping[str, float], settings: RowSettings, seed: int, compat: bool):
        """Mix the corpora that `shares` names; a share is of the tokens, and they add up to 1."""
        self.seed, self.length = seed, settings.length
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
        tokens = [place[-1] for place in places]
        if min(tokens) < 0 or sum(tokens) > num_rows * self.length:
            raise UserError(f"{tokens} tokens of corpora after {num_rows:,} rows of {self.length}")

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
        """Return the beginning of each corpus's next group, see `RowStream.next_group`; shares are kept over both."""
        pairs = zip(self.streams, self._places(position), strict=True)
        return tuple(value for stream, place in pairs for value in (*stream.next_group(place[:-1]), place[-1]))

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


def training_shares(data: Data, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of the training tokens that each corpus with training text has; empty for data of one corpus.

    They follow from `weights`, else from those that it was prepared with, else each text is seen equally often.

    Raises:
        UserError: weights name something else than these corpora.
    """
    found = {name: own.num_tokens("train") for name, own in data.corpora.items() if own.num_tokens("train")}
    if not data.corpora:
        if weights:
            raise UserError(f"weights: {data.address} is of one corpus; leave them out")
        return {}
    if not found:
        raise UserError(f"{data.address}: holds no train text; prepare more of it, or another heldout_fraction")
    names = ", ".join(found)
    for name in weights:
        if name not in found:
            what = "has no training text" if name in data.corpora else f"no corpus of {data.address}"
            raise UserError(f"weights.{quoted(name, 40)}: {what}; there are {names}")
    if lacking := [name for name in found if weights and name not in weights]:
        raise UserError(f"weights: has none for {', '.join(lacking)}; give each of {names} one")
    prepared = {each["name"]: each.get("weight") for each in data.manifest["corpora"]}
    chosen = {name: weights.get(name) or prepared[name] or float(found[name]) for name in found}
    if min(chosen.values()) <= 0:
        raise data.damaged("manifest.json", "a weight that is not above 0")
    return {name: round(weight / sum(chosen.values()), 12) for name, weight in chosen.items()}


def data_identity(data: Data, shares: Mapping[str, float]) -> dict[str, Any]:
    """Return what decides the training rows of a run besides its recipe: the data, and the shares of its corpora."""
    return {"data": data.hash} | ({"weights": dict(shares)} if shares else {})


def describe_mix(data: Data, shares: Mapping[str, float], planned: float | None) -> str:
    """Return a line with each corpus's share, and with how often its text is seen in the `planned` tokens; None where
    the plan is in hours."""
    if planned is None:
        return "mix: " + ", ".join(f"{name} {share:.3g}" for name, share in shares.items())
    epochs = {name: share * planned / data.corpora[name].num_tokens("train") for name, share in shares.items()}
    each = ", ".join(f"{name} {share:.3g} ({epochs[name]:.3g} epochs)" for name, share in shares.items())
    most = max(epochs, key=lambda name: epochs[name])
    if epochs[most] <= MAX_EPOCHS:
        return f"mix: {each}"
    return (
        f"mix: {each}; beyond {MAX_EPOCHS} epochs text teaches less each time: give {most} a lower weight, or more text"
    )
