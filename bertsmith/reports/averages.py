"""The two ways in which GLUE is averaged here, and what of a run's scores goes into each.

An average stands for itself only when all its numbers are there, none of them comes from a model that had learnt
another task before, and the hyper-parameters are as its protocol has them; what is amiss is said with it.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from bertsmith.reports.published import QUOTED_METRICS


class Protocol(NamedTuple):
    """Which numbers are averaged; each is a median over the seeds."""

    title: str
    scores: tuple[tuple[str, str], ...]
    """Task and metric."""


PROTOCOLS = {
    "reference": Protocol(
        "google-research/electra's average: 8 tasks, CoLA by MCC, STS-B by Spearman, the others by accuracy, MNLI "
        "matched; no task starts from another",
        tuple(QUOTED_METRICS.items()),
    ),
    "cramming": Protocol(
        "Cramming's average: 9 numbers, MNLI matched and mismatched, MRPC and QQP by F1, STS-B by Pearson; one set of "
        "hyper-parameters for all tasks, 5 epochs at most",
        (
            ("cola", "mcc"), ("sst-2", "accuracy"), ("mrpc", "f1"), ("sts-b", "pearson"), ("qqp", "f1"),
            ("mnli", "accuracy"), ("mnli", "accuracy_mismatched"), ("qnli", "accuracy"), ("rte", "accuracy"),
        ),
    ),
}  # fmt: skip
"""Sources: the README of google-research/electra; JonasGeiping/cramming, cramming/config/eval/GLUE_sane.yaml and tasks
beside it (STS-B's target metric there is Pearson's)."""


def average(protocol: Protocol, tasks: Mapping[str, Any], departures: Sequence[str] = ()) -> dict[str, Any]:
    """Average the scores of a run, and list what prevents comparison with published averages.

    Args:
        protocol: one of `PROTOCOLS`.
        tasks: task → {"summary": {metric: {"median": fraction of 1}}, "from_mnli": bool}.
        departures: where the run's hyper-parameters are not the protocol's.

    Returns:
        average      a fraction of 1; None unless all numbers are there
        mean         of the numbers that are there, None without any
        numbers, of  how many there are, and how many there should be
        missing      "task metric" of the others
        from_mnli    tasks among them whose model had learnt MNLI before
        departures   as given
        comparable   whether the three before are empty
    """
    found, missing, transferred = [], [], []
    for task, metric in protocol.scores:
        row = tasks.get(task, {"summary": {}})
        if metric not in row["summary"]:
            missing.append(f"{task} {metric}")
            continue
        found.append(row["summary"][metric]["median"])
        if row["from_mnli"]:
            transferred.append(task)
    score = mean(found) if found else None
    return {
        "average": None if missing else score, "mean": score, "numbers": len(found), "of": len(protocol.scores),
        "missing": missing, "from_mnli": transferred, "departures": list(departures),
        "comparable": not (missing or transferred or departures),
    }  # fmt: skip
