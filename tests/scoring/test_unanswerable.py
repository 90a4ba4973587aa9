"""SQuAD 2.0: totals, groups and thresholds by hand, by trying every threshold, and the official figures."""

import random

import pytest

from bertsmith.scoring.questions import read_predicted_texts, read_squad
from bertsmith.scoring.text_answers import score_answerable

GOLD = {"a": ["cat"], "b": ["black dog"], "c": [], "d": []}
PREDICTED = {"a": "the cat", "b": "dog", "c": "", "d": "cow"}


def test_groups():
    assert score_answerable(GOLD, PREDICTED) == pytest.approx({
        "exact": 50.0, "f1": 100 * (1 + 2 / 3 + 1) / 4, "total": 4,
        "HasAns_exact": 50.0, "HasAns_f1": 100 * (1 + 2 / 3) / 2, "HasAns_total": 2,
        "NoAns_exact": 50.0, "NoAns_f1": 50.0, "NoAns_total": 2,
    })  # fmt: skip


def test_a_group_without_questions_is_left_out():
    scores = score_answerable({"a": ["cat"]}, {"a": "cat"})
    assert scores == {
        "exact": 100.0, "f1": 100.0, "total": 1, "HasAns_exact": 100.0, "HasAns_f1": 100.0, "HasAns_total": 1,
    }  # fmt: skip


def test_an_answer_of_articles_is_as_good_as_none():
    """The script drops answers of which normalisation leaves nothing, and takes none for the empty text, of F1 1; the
    question still counts among those with an answer."""
    scores = score_answerable({"a": ["The"]}, {"a": "an"})
    assert (scores["exact"], scores["f1"], scores["HasAns_total"]) == (100.0, 100.0, 1)


def test_odds_beyond_the_threshold_take_an_answer_back():
    odds = {"a": 0.9, "b": 0.1, "c": 0.0, "d": 0.9}
    as_the_script = score_answerable(GOLD, PREDICTED, odds)
    assert as_the_script["exact"] == 50.0  # probabilities are never beyond 1
    at_half = score_answerable(GOLD, PREDICTED, odds, threshold=0.5)
    assert (at_half["HasAns_exact"], at_half["NoAns_exact"]) == (0.0, 100.0)
    assert at_half["HasAns_f1"] == pytest.approx(100 * (2 / 3) / 2)
    at_the_odds = score_answerable(GOLD, PREDICTED, odds, threshold=0.9)
    assert at_the_odds["exact"] == 50.0, "at the threshold an answer stays"


def test_best_thresholds_by_hand():
    """No answer to anything: c and d, 50 %. Up to 0.2 adds a; up to 0.3 adds b's share of words, but b is not exact;
    up to 0.4 lets d's wrong answer in."""
    odds = {"d": 0.4, "b": 0.3, "a": 0.2, "c": 0.9}
    scores = score_answerable(GOLD, PREDICTED, odds)
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (75.0, 0.2)
    assert scores["best_f1"] == pytest.approx(100 * (2 + 1 + 2 / 3) / 4)
    assert scores["best_f1_thresh"] == 0.3


def test_best_is_no_answer_at_all_where_no_answer_is_right():
    scores = score_answerable(GOLD, dict.fromkeys(GOLD, "wrong"), dict.fromkeys(GOLD, -3.0))
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (50.0, 0.0)


def test_equal_odds_are_told_apart_by_their_order_as_in_the_script():
    """No threshold lets a in and keeps d out; the script counts as if one did, where a comes first."""
    predicted = {"a": "cat", "d": "cow"}
    gold = {id: GOLD[id] for id in predicted}
    assert score_answerable(gold, predicted, {"a": 0.5, "d": 0.5})["best_exact"] == 100.0
    assert score_answerable(gold, predicted, {"d": 0.5, "a": 0.5})["best_exact"] == 50.0


def test_best_thresholds_are_those_that_trying_all_would_find():
    rng = random.Random(0)
    for _ in range(30):
        ids = [str(number) for number in range(20)]
        gold = {id: rng.choice([[], ["red cat"], ["blue cat", "red"]]) for id in ids}
        predicted = {id: rng.choice(["", "red cat", "red", "cow"]) for id in ids}
        odds = {id: rng.uniform(-9, 9) for id in rng.sample(ids, len(ids))}
        scores = score_answerable(gold, predicted, odds)
        # Where there is no answer, a text is wrong whatever the odds; thresholds below all odds answer nothing.
        tried = {at: score_answerable(gold, predicted, odds, at) for at in (-10.0, *sorted(odds.values()))}
        for name in ("exact", "f1"):
            assert scores[f"best_{name}"] == pytest.approx(max(found[name] for found in tried.values()))
            at = scores[f"best_{name}_thresh"]
            if at in tried:
                assert tried[at][name] == pytest.approx(scores[f"best_{name}"])


def test_questions_without_a_prediction_count_as_wrong_even_without_an_answer():
    scores = score_answerable(GOLD, {"a": "cat"}, {"a": 0.1})
    assert (scores["exact"], scores["total"]) == (25.0, 4)
    assert (scores["HasAns_exact"], scores["NoAns_exact"]) == (50.0, 0.0)
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (25.0, 0.1)
    assert score_answerable(GOLD, {})["exact"] == 0.0


def test_the_official_figures(shared_data):
    """What evaluate-v2.0.py gives for a published system."""
    gold = read_squad(shared_data / "squad" / "dev-v2.0.json", answerable=False)
    predicted = read_predicted_texts(shared_data / "squad" / "predictions" / "v2.0-bert-single.json")
    scores = score_answerable(gold, predicted)
    assert (scores["exact"], scores["f1"]) == pytest.approx((78.74168, 81.77528), abs=1e-5)
    assert (scores["total"], scores["HasAns_total"], scores["NoAns_total"]) == (11873, 5928, 5945)
