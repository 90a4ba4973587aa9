"""Token rows end to end in memory, of which batches are taken."""

from typing import NamedTuple

import numpy as np

from bertsmith.encoders.tokens import Tokens
from bertsmith.tokenizers.tokenizer import Tokenizer


class Rows(NamedTuple):
    """N rows end to end, T tokens."""

    ids: np.ndarray
    """[T]."""
    segment_ids: np.ndarray
    """[T] uint8: 0 up to the first [SEP], 1 after it."""
    lengths: np.ndarray
    """[N] int64."""
    starts: np.ndarray
    """[N] int64, each row's first token."""
    truncated: int
    """Rows whose texts did not fit."""

    def take(self, rows: np.ndarray) -> Tokens:
        """Return the rows of these numbers, in this order."""
        lengths = self.lengths[rows]
        places = _spans(self.starts[rows], lengths)
        return Tokens.pack(self.ids[places], self.segment_ids[places], lengths)


def lay_out(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], tokenizer: Tokenizer, truncated: int) -> Rows:
    """Return rows of one part or two; a part is its ids, and of every row the first place in them and the length."""
    row_lengths = 1 + np.sum([lengths + 1 for _, _, lengths in parts], axis=0)
    row_starts = np.cumsum(row_lengths) - row_lengths
    row_ids = np.full(row_lengths.sum(), tokenizer.sep_id, dtype=tokenizer.dtype)
    segment_ids = np.zeros(len(row_ids), dtype=np.uint8)
    row_ids[row_starts] = tokenizer.cls_id
    begins = row_starts + 1
    for segment, (ids, starts, lengths) in enumerate(parts):
        row_ids[_spans(begins, lengths)] = ids[_spans(starts, lengths)]
        if segment:
            segment_ids[_spans(begins, lengths + 1)] = segment
        begins = begins + lengths + 1
    return Rows(row_ids, segment_ids, row_lengths, row_starts, truncated)


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the whole numbers of all ranges start … start + length - 1, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
