"""A Unigram's pieces of many words at once are those of `tokenizers`, also where two ways are equally likely."""

import random

import numpy as np
import pytest
from tokenizers import models

from bertsmith.tokenizers import word_cache
from bertsmith.tokenizers.piece_search import PieceSearch
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.tokenizers import formats
from tests.tokenizers.test_tokenizer import ODD_TEXTS

LETTERS = "abc▁é漢😀"
DRAWN = random.Random(0)


def word(longest: int) -> str:
    return "".join(DRAWN.choices(LETTERS, weights=[8, 4, 2, 1, 1, 1, 1], k=DRAWN.randint(1, longest)))


def check(vocabulary: list[tuple[str, float]], words: list[str]) -> int:
    """Assert that words have the ids of `tokenizers`, or none where a character is no piece; return how many have
    some."""
    pieces = {piece for piece, _ in vocabulary}
    model, search = models.Unigram(vocabulary, unk_id=0), PieceSearch(vocabulary, 0)
    ids, sizes = search.encode(words)
    assert ids.dtype == np.uint32 and sizes.sum() == len(ids)
    found = np.split(ids, np.cumsum(sizes)[:-1])
    for text, row in zip(words, found, strict=True):
        expected = [token.id for token in model.tokenize(text)]
        has_none = not text or 0 in expected or not pieces.issuperset(text)
        assert row.tolist() == ([] if has_none else expected), text
    return sum(map(bool, map(len, found)))


@pytest.mark.parametrize("scores", ["ties", "thirds", "any"])
def test_ids_are_those_of_tokenizers(scores: str):
    draw = {"ties": lambda: -float(DRAWN.randint(1, 3)), "thirds": lambda: -DRAWN.randint(1, 9) / 3,
            "any": lambda: -16 * DRAWN.random()}[scores]  # fmt: skip
    for size in (0, 5, 300):
        vocabulary = [("<unk>", 0.0), *((letter, draw()) for letter in LETTERS[: size or 3])]
        vocabulary += [(word(5), draw()) for _ in range(size)]
        words = ["", *(word(20) for _ in range(2000)), "a" * 64, "ab" * 32, "", "x", "a\0b", "<unk>a", "\0"]
        assert check(vocabulary, words) > (1500 if size == 300 else 100)


def test_of_a_piece_that_stands_twice_the_last_one_counts():
    vocabulary = [("<unk>", 0.0), ("a", -1.0), ("aa", -3.0), ("a", -2.0), ("aa", -3.5), ("", -1.0)]
    assert check(vocabulary, ["a", "aa", "aaa"]) == 3


def test_no_words():
    ids, sizes = PieceSearch([("a", -1.0)], None).encode([])
    assert len(ids) == len(sizes) == 0
    assert PieceSearch([("a", -1.0)], None).encode(["aa", "b", ""])[1].tolist() == [2, 0, 0]


@pytest.mark.parametrize("make", [formats.xlm_roberta, formats.deberta_v3, formats.no_dummy_prefix, formats.albert])
def test_the_cache_begins_anew_where_it_is_full_or_a_text_was_refused(make, tmp_path, monkeypatch: pytest.MonkeyPatch):
    ours = Tokenizer.load(make(tmp_path))
    texts = [*formats.TEXTS, *ODD_TEXTS, "a" * 65 + " cat", "  a", "a b", " the cat\n"]
    expected = [ours.fast.encode(text, add_special_tokens=False).ids for text in texts]
    monkeypatch.setattr(word_cache, "MAX_CACHED_WORDS", 30)
    monkeypatch.setattr(word_cache, "SEARCHED_AT_ONCE", 7)
    for _ in range(2):
        assert ours.encode_each(texts) == expected
        assert [ours.encode_each([text])[0] for text in texts] == expected
        with pytest.raises(Exception, match="half a character"):
            ours.encode_each(["new words that are", "in no text \ud83d before"])
    assert len(ours._engine._sizes) <= 30 + max(len(text.split(" ")) for text in texts)
    monkeypatch.setattr(ours._engine, "_search", None)
    ours._engine._begin()
    assert ours.encode_each(texts) == expected
