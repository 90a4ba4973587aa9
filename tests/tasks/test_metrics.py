"""Scores against the formulas in the text books, and what is defined where they divide by zero."""

import numpy as np
import pytest

from bertsmith.tasks.metrics import METRICS, is_constant, measure, summarize


def test_classes_by_the_confusion_matrix():
    generator = np.random.default_rng(0)
    answers = generator.integers(2, size=500)
    predicted = np.where(generator.random(500) < 0.7, answers, 1 - answers)
    tp, tn = ((predicted == 1) & (answers == 1)).sum(), ((predicted == 0) & (answers == 0)).sum()
    fp, fn = ((predicted == 1) & (answers == 0)).sum(), ((predicted == 0) & (answers == 1)).sum()
    expected = {
        "accuracy": (tp + tn) / 500,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt(float((tp + fp) * (tp + fn)) * float((tn + fp) * (tn + fn))),
    }
    assert measure(("accuracy", "f1", "mcc"), predicted, answers) == pytest.approx(expected, abs=1e-12)


def test_f1_of_many_classes_is_their_mean():
    answers, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 2, 2, 2])
    assert measure(("f1",), predicted, answers)["f1"] == pytest.approx((1 + 2 / 3 + 4 / 5) / 3)


def test_numbers_by_their_definitions():
    generator = np.random.default_rng(0)
    answers = generator.random(200).astype(np.float32)
    predicted = (answers + generator.normal(0, 0.3, 200)).astype(np.float32)
    ranks = [values.argsort().argsort() for values in (predicted, answers)]
    scores = measure(("pearson", "spearman"), predicted, answers)
    assert scores["pearson"] == pytest.approx(np.corrcoef(predicted, answers)[0, 1], abs=1e-6)
    assert scores["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-9)


@pytest.mark.parametrize("name", ["f1", "mcc", "pearson", "spearman"])
def test_constant_predictions_score_zero(name):
    answers = np.array([0, 1, 1, 0])
    assert METRICS[name](np.zeros(4, dtype=int), answers) == 0.0
    assert is_constant(np.zeros(4)) and not is_constant(answers)


def test_summary():
    assert summarize([0.5]) == {"median": 0.5, "mean": 0.5, "std": 0.0}
    assert summarize([1.0, 2.0, 6.0]) == pytest.approx({"median": 2.0, "mean": 3.0, "std": 7**0.5})
