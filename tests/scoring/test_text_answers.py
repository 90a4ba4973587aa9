"""Exact match and F1 of texts: by hand, and the figures that the official script gives."""

import pytest

from bertsmith.scoring.questions import read_predicted_texts, read_squad
from bertsmith.scoring.text_answers import normalize, score_answers, score_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's\tpyjamas!", "cats pyjamas"),
        ("an apple a day", "apple day"),
        ("theatre and anthem", "theatre and anthem"),  # articles are whole words
        ("a-b", "ab"),  # punctuation goes first: no word "a" is left
        ("€ 5 – “x”", "€ 5 – “x”"),  # ASCII's only
        ("the", ""),
        ("ÉTÉ\u00a0x", "été x"),
    ],
)
def test_normalisation(text, expected):
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("predicted", "gold", "exact", "f1"),
    [
        ("the Cat", ["cat"], 1.0, 1.0),
        ("black cat", ["cat"], 0.0, 2 / 3),  # precision 1/2, recall 1
        ("cat cat dog", ["cat cat cat"], 0.0, 2 / 3),  # two of three are shared: a word counts as often as it is there
        ("x y", ["y z", "x y z w"], 0.0, 2 / 3),  # 1/2 and 2/3: the best answer counts
        ("", ["cat"], 0.0, 0.0),
        ("the", ["a"], 1.0, 0.0),  # nothing is left of either: the script of 1.1 has no F1 for that
    ],
)
def test_a_text(predicted, gold, exact, f1):
    assert score_text(predicted, gold) == pytest.approx((exact, f1))


def test_measures_are_the_best_over_the_answers_each_on_its_own():
    """The second answer, of which nothing is left either, is the exact match; whether it has an F1 is the version's."""
    assert score_text("the", ["the cat", "a"]) == (1.0, 0.0)
    assert score_text("the", ["the cat", "a"], both_empty=1.0) == (1.0, 1.0)


def test_questions_without_a_prediction_count_as_wrong():
    gold = {"1": ["cat"], "2": ["dog"], "3": ["cow", "ox"]}
    scores = score_answers(gold, {"1": "Cat", "3": "an old ox", "9": "passed over"})
    assert scores == pytest.approx({"exact_match": 100 / 3, "f1": 100 * (1 + 2 / 3) / 3})
    assert score_answers(gold, {}) == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("name", "exact_match", "f1"),
    [("v1.1-bert-ensemble", 86.20624, 92.19558), ("v1.1-logistic-regression", 40.14191, 50.98153)],
)
def test_the_official_figures(shared_data, name, exact_match, f1):
    """What evaluate-v1.1.py gives for two published systems; the second leaves 13 questions out."""
    gold = read_squad(shared_data / "squad" / "dev-v1.1.json", answerable=True)
    predicted = read_predicted_texts(shared_data / "squad" / "predictions" / f"{name}.json")
    assert len(gold) == 10570
    assert score_answers(gold, predicted) == pytest.approx({"exact_match": exact_match, "f1": f1}, abs=1e-5)
