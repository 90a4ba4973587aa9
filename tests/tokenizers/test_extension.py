"""A vocabulary with words added: the old ids stay, the words that save most come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.tokenizers.extension import extend, extends, pieces
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build

LETTERS = "abcdez"
TOKENS = [*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "ab", "##cd", "abc"]
BASE = Tokenizer(build(TOKENS))


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.token(id) for id in range(tokenizer.vocab_size)]


def test_the_words_that_save_most_tokens_come_in_and_nothing_moves():
    # abcde: abc ##d ##e, 2 saved a time; zz: 1; ab and abc are tokens; aaaaaa: 5 but only once
    texts = ["abcde Abcde abcde zz zz", "zz zz ab ab abc aaaaaa"]
    assert tokens_of(extend(BASE, texts, 100)) == [*TOKENS, "abcde", "zz"]
    assert tokens_of(extend(BASE, texts, len(TOKENS) + 1)) == [*TOKENS, "abcde"]


def test_unknown_words_come_in_as_if_cut_into_characters():
    extended = extend(BASE, ["qqqq qqqq abcde abcde abcde"], 100)  # 4 a time, 2 a time
    assert tokens_of(extended) == [*TOKENS, "qqqq", "abcde"]
    assert extend(BASE, ["q q"], 100).encode_batch(["q"])[0].tolist() == [len(TOKENS)]


@given(st.lists(st.text(alphabet=LETTERS + " ", max_size=30), max_size=8))
def test_texts_never_become_longer_and_say_the_same(texts):
    try:
        extended = extend(BASE, texts, 60)
    except UserError:
        return
    assert extends(extended, BASE) and not extends(BASE, extended)
    for text in texts:
        (before, _), (after, _) = BASE.encode_batch([text]), extended.encode_batch([text])
        assert extended.decode(after) == BASE.decode(before)


@given(st.text(alphabet=LETTERS + "q", min_size=1, max_size=12))
def test_pieces_are_those_of_the_tokenizer(word):
    assert pieces(BASE, word) == BASE.encode_batch([word])[0].tolist()


def test_pieces_of_the_inside_of_a_word():
    assert [BASE.token(id) for id in pieces(BASE, "##acde")] == ["##a", "##cd", "##e"]
    assert pieces(BASE, "##") == pieces(BASE, "##q") == [BASE.unk_id]


def test_another_casing_or_order_is_no_extension():
    assert extends(BASE, BASE)
    assert not extends(Tokenizer(build(TOKENS, lowercase=False)), BASE)
    assert not extends(Tokenizer(build([*TOKENS[:-2], "abc", "##cd"])), BASE)
    assert extends(Tokenizer(build([*TOKENS, "new"], strip_accents=True)), BASE)  # what lower-casing means anyway


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [(["abcde abcde"], len(TOKENS), "has 20 tokens already.*size=1020"), (["ab", ""], 100, "no word of this text")],
)
def test_what_cannot_be_extended(texts, size, message):
    with pytest.raises(UserError, match=message):
        extend(BASE, texts, size)


def test_added_tokens_behind_the_vocabulary_would_move():
    fast = build(TOKENS)
    fast.add_tokens(["<e>"])
    assert fast.token_to_id("<e>") == len(TOKENS)
    with pytest.raises(
        UserError, match=r"has added tokens behind it, as '<e>', whose ids would move; put them into vocab"
    ):
        extend(Tokenizer(fast), ["new new words words"], len(TOKENS) + 3)
