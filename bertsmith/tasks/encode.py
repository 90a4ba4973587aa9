"""Texts and pairs of texts in, token rows out: [CLS] one [SEP], or [CLS] one [SEP] two [SEP]."""

from typing import NamedTuple

import numpy as np

from bertsmith.model.tokens import Tokens
from bertsmith.tasks.task import Examples
from bertsmith.text.tokenizer import Tokenizer


class Rows(NamedTuple):
    """N rows end to end, T tokens."""

    ids: np.ndarray
    """[T]."""
    segment_ids: np.ndarray
    """[T] uint8: 0 up to the first [SEP], 1 behind it."""
    lengths: np.ndarray
    """[N] int64."""
    starts: np.ndarray
    """[N] int64, each row's first token."""
    truncated: int
    """Rows whose texts did not fit."""

    def take(self, rows: np.ndarray) -> Tokens:
        """The rows of these numbers, in this order."""
        lengths = self.lengths[rows]
        places = _spans(self.starts[rows], lengths)
        return Tokens.pack(self.ids[places], self.segment_ids[places], lengths)


def encode(examples: Examples, tokenizer: Tokenizer, length: int) -> Rows:
    """Rows of at most `length` tokens; of a pair that is longer, the longer side loses one token at a time.

    Source: google-research/bert, run_classifier.py, _truncate_seq_pair.
    """
    ids, starts, lengths = _encode_texts(examples.first, tokenizer)
    if examples.second is None:
        parts = [(ids, starts, np.minimum(lengths, length - 2))]
        truncated = lengths > length - 2
    else:
        second_ids, second_starts, second_lengths = _encode_texts(examples.second, tokenizer)
        truncated = lengths + second_lengths > length - 3
        lengths, second_lengths = truncate_pairs(lengths, second_lengths, length - 3)
        parts = [(ids, starts, lengths), (second_ids, second_starts, second_lengths)]
    return lay_out(parts, tokenizer, int(truncated.sum()))


def truncate_pairs(first: np.ndarray, second: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [N] twice → lengths of which no two add up to more than `budget`.

    What is left when the longer side loses a token until both fit, the second one where they are equally long: half
    of the budget (the first side's half is rounded up), or more where the other side needs less.
    """
    half = budget // 2
    return (
        np.minimum(first, np.maximum(budget - half, budget - second)),
        np.minimum(second, np.maximum(half, budget - first)),
    )


def _encode_texts(texts: list[str], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, ends = tokenizer.encode_batch(texts)
    lengths = np.diff(ends, prepend=0)
    return ids, ends - lengths, lengths


def lay_out(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], tokenizer: Tokenizer, truncated: int) -> Rows:
    """Rows of one part or two; a part is its ids, and of every row the first place in them and the length."""
    row_lengths = 1 + sum(lengths + 1 for _, _, lengths in parts)
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
    """The whole numbers of all ranges start … start + length - 1, one range behind the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
