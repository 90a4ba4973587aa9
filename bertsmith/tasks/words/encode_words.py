"""Sentences of words in, token rows out, with the place of each word's first piece: [CLS] pieces … [SEP]."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bertsmith.tasks.rows import Rows, TextIds, join_rows
from bertsmith.tokenizers.tokenizer import Tokenizer

IGNORED = -100
"""In the place of a tag where there is none to give: at [CLS], at [SEP], and at a word's further pieces."""


class WordRows(NamedTuple):
    """N rows, one a sentence, of W words."""

    rows: Rows
    """`truncated` of them lost words."""
    ends: np.ndarray
    """[N] int64, counts of words: sentence i is the words `ends[i - 1]` to `ends[i]`."""
    kept: np.ndarray
    """[W] bool, whether a word is in its row: those that do not fit whole are left out, and all behind them."""
    row_of: np.ndarray
    """[K] int64, of each kept word; rising."""
    place_of: np.ndarray
    """[K] int64, of each kept word's first piece in that row."""
    unknown: np.ndarray
    """Numbers of the words that the tokenizer makes nothing of, a control character for example: they are [UNK]."""

    def scatter(self, values: np.ndarray, fill: int) -> np.ndarray:
        """Lay kept words' values [K] out as [N, L] int16, each at its word's first piece; `fill` elsewhere."""
        grid = np.full((len(self.ends), int(self.rows.lengths.max())), fill, dtype=np.int16)
        grid[self.row_of, self.place_of] = values
        return grid

    def gather(self, grid: np.ndarray, fill: int) -> np.ndarray:
        """Return the inverse, [N, L] → [W]; `fill` for words that are in no row."""
        values = np.full(len(self.kept), fill, dtype=np.int64)
        values[self.kept] = grid[self.row_of, self.place_of]
        return values


def encode_words(sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, length: int, segment: int = 0) -> WordRows:
    """Return rows of at most `length` tokens, all of one `segment`, in which each word is cut into pieces by itself.

    Source: google-research/electra, finetune/tagging/tagging_tasks.py.
    """
    num_words = np.array([len(words) for words in sentences])
    ids, id_ends = tokenizer.encode_batch([word for words in sentences for word in words])
    pieces = np.diff(id_ends, prepend=0)
    unknown = np.flatnonzero(pieces == 0)
    ids = np.insert(ids, id_ends[unknown], tokenizer.unk_id)
    pieces[unknown] = 1
    firsts = np.cumsum(pieces) - pieces  # [W], into ids
    ends = np.cumsum(num_words)
    row_starts = np.append(firsts, len(ids))[ends - num_words]  # a sentence may be empty
    rows = np.repeat(np.arange(len(sentences)), num_words)
    places = firsts - row_starts[rows]
    kept = places + pieces <= length - 2
    lengths = np.bincount(rows, weights=pieces * kept, minlength=len(sentences)).astype(np.int64)
    num_kept = np.bincount(rows, weights=kept, minlength=len(sentences))
    truncated = int((num_kept < num_words).sum())
    joined = join_rows([TextIds(ids, row_starts, lengths)], (tokenizer.cls_id, tokenizer.sep_id), truncated)
    joined = joined._replace(segment_ids=np.full_like(joined.segment_ids, segment))
    return WordRows(joined, ends, kept, rows[kept], places[kept] + 1, unknown)
