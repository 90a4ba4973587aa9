"""Rows against a slow and obvious construction."""

import numpy as np
import pytest

from bertsmith.tasks.texts.examples import Examples, encode, in_both_orders, truncate_pairs
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build

WORDS = [f"word{number}" for number in range(50)]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(build([*SPECIAL_TOKENS, *WORDS]))


def texts(generator, number, longest):
    return [" ".join(generator.choice(WORDS, size=generator.integers(0, longest))) for _ in range(number)]


def truncated_slowly(first, second, budget):
    first, second = list(first), list(second)
    while len(first) + len(second) > budget:
        (first if len(first) > len(second) else second).pop()
    return first, second


def test_lengths_of_truncated_pairs():
    for budget in (2, 5, 8, 9):
        first, second = (side.ravel() for side in np.meshgrid(np.arange(14), np.arange(14)))
        expected = [
            [len(side) for side in truncated_slowly(range(one), range(two), budget)]
            for one, two in zip(first, second, strict=True)
        ]
        assert np.stack(truncate_pairs(first, second, budget), axis=1).tolist() == expected


def test_pairs_token_by_token(tokenizer):
    generator, length = np.random.default_rng(0), 16
    first, second = texts(generator, 200, 14), texts(generator, 200, 14)
    rows = encode(Examples(first, second, None), tokenizer, length)
    cut = 0
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        one, two = ([tokenizer.id(word) for word in text.split()] for text in (one, two))
        cut += len(one) + len(two) > length - 3
        one, two = truncated_slowly(one, two, length - 3)
        expected = [tokenizer.cls_id, *one, tokenizer.sep_id, *two, tokenizer.sep_id]
        tokens = rows.take(np.array([number]))
        assert tokens.ids.tolist() == expected
        assert tokens.segment_ids.tolist() == [0] * (len(one) + 2) + [1] * (len(two) + 1)
    assert rows.truncated == cut > 0
    assert rows.lengths.max() == length


def test_single_texts(tokenizer):
    rows = encode(Examples(["word1 word2 word3", "", "word4"], None, None), tokenizer, 4)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    one, two, _, four = (tokenizer.id(f"word{number}") for number in (1, 2, 3, 4))
    assert rows.take(np.array([2, 0, 1])).ids.tolist() == [cls, four, sep, cls, one, two, sep, cls, sep]
    assert not rows.segment_ids.any()
    assert rows.truncated == 1


def test_both_orders():
    examples = in_both_orders(Examples(["a", "b"], ["c", "d"], np.array([0, 1])))
    assert examples.first == ["a", "b", "c", "d"]
    assert examples.second == ["c", "d", "a", "b"]
    assert examples.targets.tolist() == [0, 1, 0, 1]
