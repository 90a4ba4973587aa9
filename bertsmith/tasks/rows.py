"""Texts as token ids end to end in memory, rows of them, [CLS] one [SEP] or [CLS] one [SEP] two [SEP], and a fine-tuned
model's scores of rows."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bertsmith.console.progress import PATIENCE_SECONDS, progress_bar
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.batches import by_length
from bertsmith.training.machine import Machine, evaluating

PREDICTION_BATCH_TOKENS = 8192


class TextIds(NamedTuple):
    """N texts as T token ids."""

    ids: np.ndarray  # [T]
    starts: np.ndarray
    """[N] int64, each text's first token."""
    lengths: np.ndarray  # [N] int64

    def take(self, texts: np.ndarray) -> "TextIds":
        """Return the texts of these numbers, in this order."""
        return TextIds(self.ids, self.starts[texts], self.lengths[texts])

    def cut(self, lengths: np.ndarray | int) -> "TextIds":
        """Return the texts, each cut to at most so many tokens."""
        return self._replace(lengths=np.minimum(self.lengths, lengths))


class Rows(NamedTuple):
    """N rows end to end, T tokens."""

    ids: np.ndarray  # [T]
    segment_ids: np.ndarray
    """[T] uint8: 0 up to the first [SEP], 1 after it."""
    lengths: np.ndarray  # [N] int64
    starts: np.ndarray
    """[N] int64, each row's first token."""
    truncated: int
    """Rows whose texts did not fit."""

    def take(self, rows: np.ndarray) -> Tokens:
        """Return the rows of these numbers, in this order."""
        lengths = self.lengths[rows]
        places = _spans(self.starts[rows], lengths)
        return Tokens.pack(self.ids[places], self.segment_ids[places], lengths)


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> TextIds:
    """Return the texts' ids, without special tokens."""
    ids, ends = tokenizer.encode_batch(texts)
    lengths = np.diff(ends, prepend=0)
    return TextIds(ids, ends - lengths, lengths)


def join_rows(
    segments: Sequence[TextIds], special_ids: tuple[int, int], truncated: int = 0, num_separators: int = 1
) -> Rows:
    """Return rows of one segment or two, each a text a row, with `special_ids` = ([CLS], [SEP]) around them, and as
    many [SEP] between two as `num_separators` says: 2 in RoBERTa's way."""
    cls_id, sep_id = special_ids
    row_lengths = 1 + np.sum([texts.lengths + 1 for texts in segments], axis=0)
    row_lengths += (len(segments) - 1) * (num_separators - 1)
    row_starts = np.cumsum(row_lengths) - row_lengths
    row_ids = np.full(row_lengths.sum(), sep_id, dtype=segments[0].ids.dtype)
    segment_ids = np.zeros(len(row_ids), dtype=np.uint8)
    row_ids[row_starts] = cls_id
    begins = row_starts + 1
    for segment, (ids, starts, lengths) in enumerate(segments):
        row_ids[_spans(begins, lengths)] = ids[_spans(starts, lengths)]
        if segment:
            segment_ids[_spans(begins, lengths + 1)] = segment
        begins = begins + lengths + num_separators
    return Rows(row_ids, segment_ids, row_lengths, row_starts, truncated)


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the whole numbers of all ranges start … start + length - 1, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def scored(objective: Any, rows: Any, machine: Machine) -> Iterator[tuple[np.ndarray, Tokens, Any]]:
    """Yield all of `rows` (`Rows` or `Windows`), those of similar length together: their numbers, themselves, and what
    `objective.scores` gives. What takes long shows how far it is."""
    done, total = 0, int(rows.lengths.sum())
    with evaluating(objective), progress_bar("predicting", total, patience=PATIENCE_SECONDS) as bar:
        for chosen in by_length(rows.lengths, PREDICTION_BATCH_TOKENS):
            tokens = rows.take(chosen)
            tokens = machine.lay_out(tokens, tokens.max_seqlen).to(machine.device)
            with machine.inference():
                scores = objective.scores(tokens)
            yield chosen, tokens, scores
            done += int(rows.lengths[chosen].sum())
            bar.update(done)


def refuse_truncated(rows: Rows, length: int) -> None:
    """Raise UserError where texts were cut, which are longer than a model's `length` in tokens."""
    if rows.truncated:
        raise UserError(
            f"{rows.truncated} of {len(rows.lengths)} texts are longer than the model's {length} tokens; shorten "
            f"them, or have them cut (truncate=True)"
        )
