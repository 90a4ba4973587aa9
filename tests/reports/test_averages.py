"""Averages by hand, and what is said of those that are not whole or not alike."""

import pytest

from bertsmith.reports.averages import PROTOCOLS, PUBLISHED, PUBLISHED_AVERAGES, QUOTED_METRICS, average, glue_table
from bertsmith.tasks.published.glue import GLUE

CRAMMED = {
    "cola": {"mcc": 44.5}, "sst-2": {"accuracy": 92.2}, "mrpc": {"accuracy": 0, "f1": 87.5},
    "sts-b": {"spearman": 0, "pearson": 84.6}, "qqp": {"accuracy": 0, "f1": 87.3},
    "mnli": {"accuracy": 83.9, "accuracy_mismatched": 84.1}, "qnli": {"accuracy": 89.5}, "rte": {"accuracy": 53.8},
}  # fmt: skip
"""As its model card has it, in Cramming's own metrics."""


def tasks_of(scores, *transferred):
    return {
        task: {
            "from_mnli": task in transferred,
            "trials": [{}, {}],
            "summary": {metric: {"median": score / 100, "mean": 0.5, "std": 0.01} for metric, score in row.items()},
        }
        for task, row in scores.items()
    }


def test_the_references_average_of_published_scores_is_the_published_one():
    row = next(row for row in PUBLISHED if row.model == "ELECTRA-Small-OWT")
    scores = {task: {QUOTED_METRICS[task]: score} for task, score in row.scores.items()}
    found = average(PROTOCOLS["reference"], tasks_of(scores | {"wnli": {"accuracy": 0}}))
    assert found["average"] == found["mean"] == pytest.approx(0.8036, abs=6e-5)
    assert found["comparable"] and (found["numbers"], found["of"]) == (8, 8)
    [published] = [row.score for row in PUBLISHED_AVERAGES["reference"] if row.model == "ELECTRA-Small-OWT"]
    assert published == pytest.approx(80.36, abs=0.006)


def test_crammings_average_has_nine_numbers():
    found = average(PROTOCOLS["cramming"], tasks_of(CRAMMED))
    assert found["average"] == pytest.approx(0.786, abs=5e-4) and found["of"] == 9
    assert {row.score for row in PUBLISHED_AVERAGES["cramming"]} >= {78.6, 80.7}


def test_every_number_is_one_that_a_run_has():
    for protocol in PROTOCOLS.values():
        for task, metric in protocol.scores:
            assert metric.removesuffix("_mismatched") in GLUE[task].spec.metrics
            assert not metric.endswith("_mismatched") or task == "mnli"


def test_an_average_of_some_numbers_is_none():
    few = {task: CRAMMED[task] for task in ("cola", "rte")} | {"mnli": {"accuracy": 83.9}}
    found = average(PROTOCOLS["cramming"], tasks_of(few))
    assert found["average"] is None and not found["comparable"]
    assert found["mean"] == pytest.approx((44.5 + 53.8 + 83.9) / 300)
    assert found["numbers"] == 3 and "mnli accuracy_mismatched" in found["missing"]
    assert average(PROTOCOLS["reference"], {})["mean"] is None


def results_of(tasks, departures=()):
    averages = {name: average(protocol, tasks, departures) for name, protocol in PROTOCOLS.items()}
    return {"tasks": tasks, "absent": {"wnli": "no folder"}, "averages": averages}


def test_the_table_marks_what_cannot_be_compared():
    lines = glue_table(results_of(tasks_of(CRAMMED, "rte"), ["epochs are others"]))
    text = "\n".join(lines)
    assert "rte (from MNLI)   accuracy                 2    53.80" in text
    assert "absent: wnli (no folder)" in text
    assert text.count("not comparable:") == 2 and text.count("started from MNLI's model: rte") == 2
    assert text.count("epochs are others") == 2
    partial = "\n".join(glue_table(results_of(tasks_of({"cola": CRAMMED["cola"]}))))
    assert "over 1 of 8, without sst-2 accuracy" in partial and "over 1 of 9" in partial
    assert "this run             44.50" in partial


def test_the_table_has_all_published_rows_and_no_spread_of_one_seed():
    tasks = tasks_of(CRAMMED)
    for row in tasks.values():
        row["trials"] = [{}]
        for summary in row["summary"].values():
            summary["std"] = None
    text = "\n".join(glue_table(results_of(tasks)))
    assert "not comparable" not in text and "dev set, median of 1 seed\n" in text
    assert "mcc                      1    44.50    50.00        –" in text
    for score in ("78.37", "80.36", "81.14", "82.20", "78.60", "80.70", "80.90"):
        assert f" {score}  dev set, " in text
