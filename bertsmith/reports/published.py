"""Published GLUE scores to show beside one's own, each with its source and protocol.

Scores under different protocols differ by about a point for the same model (the best of ten fine-tunings against their
median), so a score without its protocol says little.
"""

from statistics import mean
from typing import NamedTuple

QUOTED_METRICS = {
    "cola": "mcc", "sst-2": "accuracy", "mrpc": "accuracy", "sts-b": "spearman", "qqp": "accuracy", "mnli": "accuracy",
    "qnli": "accuracy", "rte": "accuracy",
}  # fmt: skip
"""The metric of each task in which all of these are quoted; MNLI is matched."""


class Published(NamedTuple):
    """One model's scores."""

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
