"""Texts and pairs of texts in, token rows out: [CLS] one [SEP], or [CLS] one [SEP] two [SEP]."""

from collections.abc import Sequence

import numpy as np

from bertsmith.tasks.rows import Rows, lay_out
from bertsmith.tasks.texts.examples import Examples
from bertsmith.tokenizers.tokenizer import Tokenizer


def encode(examples: Examples, tokenizer: Tokenizer, length: int) -> Rows:
    """Return rows of at most `length` tokens; of a pair that is longer, the longer side loses one token at a time.

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
    """Cut pairs of lengths [N] so that no two add up to more than `budget`.

    What is left when the longer side loses a token until both fit, the second one where they are equally long: half
    of the budget (the first side's half is rounded up), or more where the other side needs less.
    """
    half = budget // 2
    return (
        np.minimum(first, np.maximum(budget - half, budget - second)),
        np.minimum(second, np.maximum(half, budget - first)),
    )


def _encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, ends = tokenizer.encode_batch(texts)
    lengths = np.diff(ends, prepend=0)
    return ids, ends - lengths, lengths
