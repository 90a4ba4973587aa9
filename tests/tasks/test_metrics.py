"""Scores against the formulas in the text books, and what is defined where they divide by zero."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from bertsmith.tasks.metrics import METRICS, is_constant, measure, summarize, undefined
from bertsmith.tasks.published.glue import GLUE

PEERS = {
    "accuracy": lambda predicted, answers: sklearn_metrics.accuracy_score(answers, predicted),
    "f1": lambda predicted, answers: sklearn_metrics.f1_score(answers, predicted),
    "mcc": lambda predicted, answers: sklearn_metrics.matthews_corrcoef(answers, predicted),
    "pearson": lambda predicted, answers: stats.pearsonr(predicted, answers)[0],
    "spearman": lambda predicted, answers: stats.spearmanr(predicted, answers)[0],
}


def test_classes_by_the_confusion_matrix():
    rng = np.random.default_rng(0)
    answers = rng.integers(2, size=500)
    predicted = np.where(rng.random(500) < 0.7, answers, 1 - answers)
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
    assert measure(("f1",), predicted, answers, 3)["f1"] == pytest.approx((1 + 2 / 3 + 4 / 5) / 3)


def test_f1_of_many_classes_is_their_mean_also_where_only_two_of_them_occur():
    answers, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert measure(("f1",), predicted, answers, 2)["f1"] == pytest.approx(2 / 3)
    assert measure(("f1",), predicted, answers, 3)["f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_labels_by_their_counts():
    answers = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)
    found = measure(("f1_micro", "f1_macro", "subset_accuracy"), predicted, answers, 3)
    tp, wrong, nothing = 3, 2, np.zeros((4, 3), dtype=bool)
    assert found == pytest.approx({
        "f1_micro": 2 * tp / (2 * tp + wrong), "f1_macro": (4 / 5 + 2 / 3 + 0) / 3, "subset_accuracy": 2 / 4,
    })  # fmt: skip
    assert measure(("f1_micro", "f1_macro"), nothing, nothing, 3) == {"f1_micro": 0.0, "f1_macro": 0.0}


def test_numbers_by_their_definitions():
    rng = np.random.default_rng(0)
    answers = rng.random(200).astype(np.float32)
    predicted = (answers + rng.normal(0, 0.3, 200)).astype(np.float32)
    ranks = [values.argsort().argsort() for values in (predicted, answers)]
    scores = measure(("pearson", "spearman"), predicted, answers)
    assert scores["pearson"] == pytest.approx(np.corrcoef(predicted, answers)[0, 1], abs=1e-6)
    assert scores["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-9)


@pytest.mark.parametrize("name", ["f1", "mcc", "pearson", "spearman"])
def test_constant_predictions_score_zero(name):
    answers = np.array([0, 1, 1, 0])
    assert METRICS[name](np.zeros(4, dtype=int), answers) == 0.0
    assert is_constant(np.zeros(4)) and not is_constant(answers)


@pytest.mark.parametrize("name", GLUE)
@pytest.mark.parametrize("shape", ["both vary", "one prediction", "one label", "one of each", "nothing positive"])
def test_every_glue_metric_is_scikit_learns_or_scipys(name, shape):
    """Where theirs is a number it is ours; where it is none, ours is 0 and `undefined` says so."""
    task = GLUE[name].spec
    rng = np.random.default_rng(0)
    for _ in range(20):
        size = int(rng.integers(2, 50))
        if not task.labels:
            predicted, answers = rng.normal(size=(2, size)).round(1)
        else:
            predicted, answers = rng.integers(len(task.labels), size=(2, size))
        if shape in ("one prediction", "one of each"):
            predicted[:] = predicted[0]
        if shape in ("one label", "one of each"):
            answers[:] = answers[0]
        if shape == "nothing positive":
            predicted[:] = answers[:] = 0
        scores = measure(task.metrics, predicted, answers)
        zeros = undefined(task.metrics, predicted, answers)
        for metric, score in scores.items():
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                expected = PEERS[metric](predicted, answers)
            if np.isnan(expected):
                assert metric in zeros and score == 0.0
            else:
                assert score == pytest.approx(expected, abs=1e-12)
            if metric in zeros:
                assert score == 0.0 and (warned or metric == "mcc")
            if metric in ("f1", "pearson", "spearman") and warned:
                assert metric in zeros or (metric == "f1" and (not predicted.any() or not answers.any()))


def test_undefined_names_what_is_zero_by_definition():
    names, some, zeros, ones = (
        ("accuracy", "f1", "mcc", "pearson", "spearman"),
        np.array([0, 1]),
        np.zeros(2, dtype=int),
        np.ones(2, dtype=int),
    )
    assert undefined(names, some, some) == []
    assert undefined(names, zeros, some) == undefined(names, some, zeros) == ["mcc", "pearson", "spearman"]
    assert undefined(names, ones, ones) == ["mcc", "pearson", "spearman"]
    assert undefined(names, zeros, zeros) == ["f1", "mcc", "pearson", "spearman"]


def test_summary():
    assert summarize([0.5]) == {"median": 0.5, "mean": 0.5, "std": None}
    assert summarize([1.0, 2.0, 6.0]) == pytest.approx({"median": 2.0, "mean": 3.0, "std": 7**0.5})
