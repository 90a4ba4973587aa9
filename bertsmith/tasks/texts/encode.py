"""Texts and pairs of texts in, token rows out."""

import numpy as np

from bertsmith.tasks.rows import Rows, encode_texts, join_rows
from bertsmith.tasks.texts.examples import Examples
from bertsmith.tokenizers.tokenizer import Tokenizer


def encode(examples: Examples, tokenizer: Tokenizer, length: int) -> Rows:
    """Return rows of at most `length` tokens; of a pair that is longer, the longer side loses one token at a time.

    Source: google-research/bert, run_classifier.py, _truncate_seq_pair.
    """
    segments = [encode_texts(texts, tokenizer) for texts in (examples.first, examples.second) if texts is not None]
    budget = length - 1 - len(segments)
    truncated = np.sum([texts.lengths for texts in segments], axis=0) > budget
    if len(segments) == 1:
        segments = [segments[0].cut(budget)]
    else:
        lengths = truncate_pairs(segments[0].lengths, segments[1].lengths, budget)
        segments = [texts.cut(fitting) for texts, fitting in zip(segments, lengths, strict=True)]
    return join_rows(segments, (tokenizer.cls_id, tokenizer.sep_id), int(truncated.sum()))


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
