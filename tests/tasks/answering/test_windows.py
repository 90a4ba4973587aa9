"""Windows lose no token of a context, and give an answer's own characters back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.windows import Windows, cut_into_windows
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.wordpiece import build

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh"), "?"]
TOKENIZER = Tokenizer(build(WORDS, lowercase=True, strip_accents=None))


def asked(*pairs: tuple[str, str]) -> Questions:
    questions = Questions()
    for number, (question, context) in enumerate(pairs):
        questions.contexts.append(context)
        questions.ids.append(str(number))
        questions.texts.append(question)
        questions.context_of.append(number)
        questions.answers.append([])
    return questions


def rows(windows: Windows) -> list[tuple[list[int], list[int]]]:
    tokens = windows.take(np.arange(len(windows)))
    ends = np.cumsum(tokens.row_lengths.numpy())[:-1]
    parts = zip(np.split(tokens.ids.numpy(), ends), np.split(tokens.segment_ids.numpy(), ends), strict=True)
    return [(ids.tolist(), segments.tolist()) for ids, segments in parts]


contexts = st.text("abcdefgh é?", min_size=1, max_size=60)


@given(st.text("ab ?", max_size=20), contexts, st.integers(10, 24), st.integers(1, 12))
def test_every_token_of_the_context_is_in_a_window_and_rows_are_laid_out_as_berts(question, context, length, stride):
    questions = asked((question, context), ("a?", "b c"))
    windows = cut_into_windows(questions, TOKENIZER, length, stride, question_length=4)
    expected = TOKENIZER.fast.encode(context, add_special_tokens=False).ids
    [asked_ids] = TOKENIZER.encode_each([question])
    covered = set()
    for number, (ids, segments) in enumerate(rows(windows)):
        if windows.question_of[number] != 0:
            continue
        start, size = windows.starts[number], windows.sizes[number]
        before = [2, *asked_ids[:4], 3]
        assert ids == [*before, *expected[start : start + size], 3] and len(ids) <= length
        assert segments == [0] * len(before) + [1] * (size + 1)
        assert windows.context_places[number] == len(before)
        covered |= set(range(start, start + size))
    assert covered == set(range(len(expected)))
    assert windows.lengths.tolist() == [len(ids) for ids, _ in rows(windows)]


@given(contexts, st.integers(0, 59), st.integers(1, 12), st.integers(9, 20))
def test_an_answer_that_begins_and_ends_with_tokens_comes_back_character_by_character(context, begin, size, length):
    text = context[begin : begin + size]
    windows = cut_into_windows(asked(("a", context)), TOKENIZER, length, 3, question_length=2)
    offsets = TOKENIZER.fast.encode(context, add_special_tokens=False).offsets
    begins, ends = ({pair[side] for pair in offsets} for side in (0, 1))
    whole = bool(text) and begin in begins and begin + len(text) in ends
    found = [places for window in range(len(windows)) if (places := windows.answer_places(window, (begin, text)))]
    for window in range(len(windows)):
        if places := windows.answer_places(window, (begin, text)):
            given_back = context[windows.characters(window, *places)]
            assert given_back == text if whole else text.strip() in given_back
    num_tokens = sum(first >= begin and last <= begin + len(text) for first, last in offsets)
    if whole and num_tokens <= 3:  # as many as any two neighbouring windows share
        assert found


@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_of_the_windows_that_hold_a_token_one_has_most_of_its_context(monkeypatch, at_once):
    monkeypatch.setattr("bertsmith.tasks.answering.windows.TOKENS_AT_ONCE", at_once)
    context = " ".join("abcdefgh" * 3)
    windows = cut_into_windows(asked(("a", context), ("b", "c d")), TOKENIZER, 14, 4, question_length=2)
    chosen = windows.is_max_context()
    starts, sizes = windows.starts, windows.sizes
    window = np.repeat(np.arange(len(windows)), sizes)
    token = np.concatenate([start + np.arange(size) for start, size in zip(starts, sizes, strict=True)])
    for question in (0, 1):
        mine = windows.question_of[window] == question
        for place in np.unique(token[mine]):
            holders = np.flatnonzero(mine & (token == place))
            assert chosen[holders].sum() == 1
            scores = [
                min(place - starts[w], starts[w] + sizes[w] - 1 - place) + 0.01 * sizes[w] for w in window[holders]
            ]
            assert chosen[holders[int(np.argmax(scores))]]


def test_rows_without_room_for_a_context_are_refused():
    with pytest.raises(ValueError, match="sequence_length = 67 has no room behind questions of 64 tokens"):
        cut_into_windows(asked(("a", "b")), TOKENIZER, 67)
