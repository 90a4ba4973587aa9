"""The published scores add up to the averages that their sources give."""

from statistics import mean

import pytest

from bertsmith.reports.averages import PUBLISHED, QUOTED_METRICS, published_scores


@pytest.mark.parametrize(
    ("model", "average"), [("BERT-Small", 78.37), ("ELECTRA-Small-OWT", 80.36), ("ELECTRA-Small", 81.14)]
)
def test_scores_average_to_the_published_figure(model, average):
    row = next(row for row in PUBLISHED if row.model == model)
    assert mean(row.scores.values()) == pytest.approx(average, abs=0.006)


def test_scores_are_quoted_in_one_metric_a_task_best_first():
    scores = [score for _, score in published_scores("cola", "mcc")]
    assert scores == [57.0, 56.8, 52.1, 45.0]
    assert not published_scores("cola", "accuracy")
    assert not published_scores("mrpc", "f1")
    assert not published_scores("wnli", "accuracy")
    assert all(row.scores.keys() <= QUOTED_METRICS.keys() and row.protocol and row.source for row in PUBLISHED)
