"""Published GLUE scores, each with its source and protocol; the two ways of averaging GLUE; and a GLUE run's results as
text, with both averages beside published ones.

Scores under different protocols differ by about a point for the same model (the best of ten fine-tunings against their
median), so a score without its protocol says little. An average compares with published ones only where all its scores
are there, none is of a model that had learnt another task before, and the hyper-parameters are its protocol's;
otherwise the reasons stand beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from textwrap import wrap
from typing import Any, NamedTuple

QUOTED_METRICS = {
    "cola": "mcc", "sst-2": "accuracy", "mrpc": "accuracy", "sts-b": "spearman", "qqp": "accuracy", "mnli": "accuracy",
    "qnli": "accuracy", "rte": "accuracy",
}  # fmt: skip
"""The metric of each task in which all of these are quoted; MNLI is matched."""


class Published(NamedTuple):
    """The published scores of one model on GLUE."""

    model: str
    pretraining: str
    protocol: str
    source: str
    scores: dict[str, float]
    """Task → score in the task's metric, in hundredths."""


PUBLISHED = (
    Published(
        "BERT-Small", "14 M parameters, OpenWebText", "dev set, best", "Small-Bench NLP, arXiv 2109.10847",
        dict(zip(QUOTED_METRICS, (45.00, 90.14, 86.27, 84.46, 88.59, 79.58, 87.22, 65.70), strict=True)),
    ),
    Published(
        "ELECTRA-Small-OWT", "14 M parameters, OpenWebText, 1 M steps", "dev set, median of at least 10 seeds",
        "google-research/electra, README",
        dict(zip(QUOTED_METRICS, (56.8, 88.3, 87.4, 86.8, 88.3, 78.9, 87.9, 68.5), strict=True)),
    ),
    Published(
        "ELECTRA-Small", "14 M parameters, XLNet's data, 4 M steps", "dev set, median of many seeds",
        "google-research/electra, README",
        dict(zip(QUOTED_METRICS, (57.0, 91.2, 88.0, 87.5, 89.0, 81.3, 88.4, 66.7), strict=True)),
    ),
    Published(
        "BERT-Base",
        "110 M parameters, Wikipedia and BooksCorpus",
        "test set, one submission",
        "Devlin et al., arXiv 1810.04805, Table 1",
        # MRPC and QQP are left out: that table has their F1.
        {"cola": 52.1, "sst-2": 93.5, "sts-b": 85.8, "mnli": 84.6, "qnli": 90.5, "rte": 66.4},
    ),
)  # fmt: skip


class PublishedAverage(NamedTuple):
    """One model's average over GLUE."""

    model: str
    score: float
    """In hundredths."""
    protocol: str
    source: str


_AVERAGES = {
    "reference": (
        *(
            PublishedAverage(row.model, mean(row.scores.values()), row.protocol, row.source)
            for row in PUBLISHED
            if row.scores.keys() == QUOTED_METRICS.keys()
        ),
        PublishedAverage("BERT-Base", 82.2, "dev set, median of 10 runs", "Clark et al., arXiv 2003.10555, Table 1"),
    ),
    "cramming": (
        PublishedAverage("BERT-Base", 80.9, "dev set, median of 5", "Geiping and Goldstein, arXiv 2212.14034"),
        PublishedAverage("crammed BERT (C4)", 78.6, "dev set, median of 5", "Geiping and Goldstein, arXiv 2212.14034"),
        PublishedAverage(
            "crammed BERT (Pile)", 80.7, "dev set, best of several pre-trainings", "JonasGeiping/crammed-bert, its card"
        ),
    ),
}
PUBLISHED_AVERAGES = {name: sorted(rows, key=lambda row: -row.score) for name, rows in _AVERAGES.items()}
"""Protocol, a key of `bertsmith.reports.averages.PROTOCOLS` → models, best first."""

PROTOCOLS_NOTE = (
    '<p class="note">Mind the protocols: the best of ten fine-tunings stands about a point above their median, '
    "and a test set is not the dev set.</p>"
)
"""The point: richarddwang/electra_pytorch's best-of-10 GLUE average 81.38 over 14 pre-trainings, against 80.36."""


def published_scores(task: str, metric: str) -> list[tuple[Published, float]]:
    """Return models with a published score for `task` in `metric`, best first; the scores in hundredths."""
    if QUOTED_METRICS.get(task) != metric:
        return []
    found = [(row, row.scores[task]) for row in PUBLISHED if task in row.scores]
    return sorted(found, key=lambda pair: -pair[1])


class Protocol(NamedTuple):
    """The averaged metrics, each a median over the seeds."""

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


LINE_WIDTH = 100
"""Of a line, in characters."""


def glue_table(results: Mapping[str, Any]) -> list[str]:
    """Return lines for people, scores × 100.

    Args:
        results: the content of a GLUE run's results.json; see `bertsmith.sweeps.glue`.
    """
    lines = [f"{'task':<18}{'metric':<21}{'seeds':>5}{'median':>9}{'mean':>9}{'std':>9}"]
    for task, row in results["tasks"].items():
        title = f"{task} (from MNLI)" if row["from_mnli"] else task
        for metric, summary in row["summary"].items():
            scores = "".join(
                f"{'–':>9}" if summary[name] is None else f"{100 * summary[name]:>9.2f}"
                for name in ("median", "mean", "std")
            )
            lines.append(f"{title:<18}{metric:<21}{len(row['trials']):>5}{scores}")
            title = ""
    lines += [f"absent: {task} ({why})" for task, why in results["absent"].items()]
    for name, found in results["averages"].items():
        lines += ["", *wrap(PROTOCOLS[name].title, LINE_WIDTH), *_compared(name, found, seeds_of(results["tasks"]))]
    return lines


def _compared(name: str, found: Mapping[str, Any], seeds: str) -> Iterator[str]:
    score = "–" if found["mean"] is None else f"{100 * found['mean']:.2f}"
    reasons = reservations(found)
    yield f"  {'this run':<20}{score:>6}  dev set, median of {seeds}{'; not comparable:' if reasons else ''}"
    for reservation in reasons:
        yield from wrap(reservation, LINE_WIDTH, initial_indent=f"{'':>30}- ", subsequent_indent=f"{'':>32}")
    for row in PUBLISHED_AVERAGES[name]:
        yield f"  {row.model:<20}{row.score:>6.2f}  {row.protocol}; {row.source}"


def reservations(found: Mapping[str, Any]) -> list[str]:
    """Return what prevents comparing the average."""
    said = []
    if found["missing"]:
        said.append(f"over {found['numbers']} of {found['of']}, without {', '.join(found['missing'])}")
    if found["from_mnli"]:
        said.append(f"started from MNLI's model: {', '.join(found['from_mnli'])}")
    return said + found["departures"]


def seeds_of(tasks: Mapping[str, Any]) -> str:
    """Return how many seeds the tasks of a run have."""
    counts = sorted({len(row["trials"]) for row in tasks.values()})
    if not counts:
        return "no seed"
    range_of = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{range_of} {'seed' if range_of == '1' else 'seeds'}"
