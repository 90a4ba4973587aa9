"""A vocabulary depends on the text and the size alone, keeps to its casing, and is what the library would have made."""

import argparse
import inspect
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizerFast

from bertsmith.errors import UserError
from bertsmith.tokenizers import vocabulary
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.vocabulary import train_vocabulary

TEXTS = inspect.getsource(argparse).split("\n\n")
"""About 100 kB of English and code in 700 texts, in every installation."""


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.token(id) for id in range(tokenizer.vocab_size)]


# Law


def test_the_same_text_gives_the_same_vocabulary() -> None:
    first, *others = [train_vocabulary(texts, 1000).fingerprint for texts in (TEXTS, TEXTS, TEXTS[::-1], iter(TEXTS))]
    assert others == [first] * 3


def test_special_tokens_come_first_then_characters() -> None:
    tokens = tokens_of(train_vocabulary(TEXTS, 1000))
    assert tuple(tokens[:5]) == SPECIAL_TOKENS
    characters = [token for token in tokens[5:] if len(token) == 1]
    inner = [token for token in tokens[5:] if len(token) == 3 and token.startswith("##")]
    alphabet = [*sorted(characters), *sorted(inner)]
    assert tokens[5 : 5 + len(alphabet)] == alphabet
    assert "e" in characters
    assert "##e" in inner
    assert "##(" not in inner, "punctuation is a word of its own"


@pytest.mark.parametrize("size", [vocabulary.MIN_SIZE, 300, 1000])
def test_the_size_is_reached(size: int) -> None:
    assert train_vocabulary(TEXTS, size).vocab_size == size


def test_a_small_text_is_exhausted_before_the_size() -> None:
    tokenizer = train_vocabulary(["the cat sat on the mat; the cat, the mat: once only"], 1000)
    assert tokenizer.vocab_size < 100
    ids, ends = tokenizer.encode_batch(["the", "cat", "mat"])
    assert ends.tolist() == [1, 2, 3], "what occurs twice is a token of its own"
    assert tokenizer.encode_batch(["sat"])[1].tolist() == [2], "and nothing else is: s, ##at"
    assert tokenizer.unk_id not in ids


def test_casing_and_accents_are_respected() -> None:
    texts = ["Élan VITAL élan vital"] * 3
    plain, accents, cased = (
        set(tokens_of(train_vocabulary(texts, 200, **casing)))
        for casing in ({}, {"strip_accents": False}, {"lowercase": False})
    )
    assert {"elan", "vital"} <= plain
    assert not {"élan", "Élan", "VITAL"} & plain
    assert {"élan", "vital"} <= accents
    assert not {"elan", "Élan", "VITAL"} & accents
    assert {"élan", "Élan", "VITAL", "vital"} <= cased


def test_no_character_of_the_text_is_unknown() -> None:
    tokenizer = train_vocabulary(TEXTS, 1000)
    assert tokenizer.unk_id not in tokenizer.encode_batch(TEXTS)[0]


def test_the_rarest_characters_make_room() -> None:
    rare = "".join(chr(0x4E00 + number) for number in range(500))
    tokens = tokens_of(train_vocabulary([*TEXTS, rare + rare[:3]], 1000))
    kept = [token for token in tokens if token[-1] in rare]
    assert sum(len(token) == 1 for token in tokens) <= 1000 // 8
    assert kept[:3] == list(rare[:3]), "the more frequent, then the lower code point"


def test_a_special_token_in_the_text_is_no_word_of_it() -> None:
    tokens = tokens_of(train_vocabulary(["[MASK] a b"] * 5, 200))
    assert tokens.count("[MASK]") == 1
    assert "mask" in tokens


def test_words_that_would_be_unknown_are_not_learnt() -> None:
    tokens = tokens_of(train_vocabulary(["x" * 101 + " " + "y" * 100] * 3, 1000))
    assert "x" not in tokens
    assert "y" * 100 in tokens


def test_the_count_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_DISTINCT", 400)
    counts = vocabulary.count_runs(TEXTS)
    assert len(counts) <= 400
    exact = Counter(" ".join(TEXTS).split())
    assert {word for word, _ in counts.most_common(10)} == {word for word, _ in exact.most_common(10)}


def test_a_long_line_is_counted_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word " * 1000
    monkeypatch.setattr(vocabulary, "SLICE", 500)
    assert vocabulary.count_runs([text]) == {"word": 1000}


def test_texts_are_read_one_at_a_time() -> None:
    class Text(str):
        """A str that can be watched."""

    alive: weakref.WeakSet[Text] = weakref.WeakSet()

    def stream() -> Iterator[str]:
        for number in range(20):
            assert len(alive) <= 1, "only the one that was counted last"
            text = Text(f"text number {number}")
            alive.add(text)
            yield text
            del text

    assert "text" in tokens_of(train_vocabulary(stream(), 200))


# Reference


def test_it_is_what_the_library_makes_but_for_ties() -> None:
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1000, min_frequency=2, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    library.train_from_iterator(TEXTS, trainer)
    ours, theirs = set(tokens_of(train_vocabulary(TEXTS, 1000))), set(library.get_vocab())
    assert len(ours & theirs) > 0.98 * len(theirs)


@pytest.mark.parametrize("lowercase", [True, False])
def test_transformers_gives_the_same_ids_with_it(tmp_path: Path, lowercase: bool) -> None:
    ours = train_vocabulary(TEXTS, 1000, lowercase=lowercase)
    ours.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    assert Tokenizer.load(tmp_path / "vocab.txt", lowercase=lowercase).fingerprint == ours.fingerprint
    theirs = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), do_lower_case=lowercase)
    expected = [id for row in theirs(TEXTS, add_special_tokens=False)["input_ids"] for id in row]
    assert ours.encode_batch(TEXTS)[0].tolist() == expected


# Bad input


@pytest.mark.parametrize("texts", [[], [""], [" \n", "\x00"]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="no text to train a vocabulary on"):
        train_vocabulary(texts, 1000)


def test_a_size_without_room_for_an_alphabet_is_refused() -> None:
    with pytest.raises(UserError, match=r"size = 99: a vocabulary has at least 100 tokens"):
        train_vocabulary(TEXTS, 99)
