"""Predictions and answers in, scores out, by scikit-learn and scipy; all as fractions of 1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bertsmith.config.registry import Registry

Metric = Callable[[np.ndarray, np.ndarray], float]
"""Predictions and answers, [N] or [N, C] → a score."""


def measure(names: Sequence[str], predicted: np.ndarray, answers: np.ndarray, num_classes: int = 2) -> dict[str, float]:
    """Return scores by name.

    Where the predictions or the answers are all the same, `mcc`, `pearson` and `spearman` are 0 by definition (their
    formulas divide by zero), and so is `f1` where no example is positive in either; see `undefined`. So is the F1 of
    a label that no text has, in the predictions or in the answers.

    Args:
        names: keys of `METRICS`; `f1` is that of class 1 where there are two classes, as GLUE has it, and else the mean
            over the classes that occur.
        predicted, answers: [N], class ids, or numbers; or [N, C] bool, which labels a text has.
    """
    several = {"f1": METRICS["f1_macro"]} if num_classes > 2 else {}
    return {name: float((METRICS | several)[name](predicted, answers)) for name in names}


def is_constant(values: np.ndarray) -> bool:
    return len(values) == 0 or bool((values == values[0]).all())


def undefined(names: Sequence[str], predicted: np.ndarray, answers: np.ndarray) -> list[str]:
    """Return those of `names` that are 0 by definition here: scikit-learn's 0 comes with a warning, scipy's is no
    number."""
    constant = is_constant(predicted) or is_constant(answers)
    none_positive = not predicted.any() and not answers.any()
    return [name for name in names if (none_positive if name == "f1" else constant and name != "accuracy")]


def summarize(scores: Sequence[float]) -> dict[str, float | None]:
    """Return median, mean and sample standard deviation, which a single score does not have: None."""
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"median": float(np.median(scores)), "mean": float(np.mean(scores)), "std": std}


def _accuracy(predicted: np.ndarray, answers: np.ndarray) -> float:
    return float((predicted == answers).mean())


def _sklearn(name: str, **options: Any) -> Metric:
    """Return the metric of this name in `sklearn.metrics`, which is imported when it is first asked for."""

    def metric(predicted: np.ndarray, answers: np.ndarray) -> float:
        import sklearn.metrics

        return getattr(sklearn.metrics, name)(answers, predicted, **options)

    return metric


def _scipy(name: str) -> Metric:
    """Return the correlation of this name in `scipy.stats`, which is imported when it is first asked for."""

    def metric(predicted: np.ndarray, answers: np.ndarray) -> float:
        import scipy.stats

        return getattr(scipy.stats, name)(predicted.astype(np.float64), answers.astype(np.float64)).statistic

    return metric


def _zero_where_constant(metric: Metric) -> Metric:
    def checked(predicted: np.ndarray, answers: np.ndarray) -> float:
        return 0.0 if is_constant(predicted) or is_constant(answers) else metric(predicted, answers)

    return checked


METRICS: Registry[Metric] = Registry("metric", {
    "accuracy": _accuracy,
    "f1": _sklearn("f1_score", average="binary", zero_division=0.0),
    "f1_macro": _sklearn("f1_score", average="macro", zero_division=0.0),
    "f1_micro": _sklearn("f1_score", average="micro", zero_division=0.0),
    "subset_accuracy": _sklearn("accuracy_score"),
    "mcc": _zero_where_constant(_sklearn("matthews_corrcoef")),
    "pearson": _zero_where_constant(_scipy("pearsonr")),
    "spearman": _zero_where_constant(_scipy("spearmanr")),
})  # fmt: skip
