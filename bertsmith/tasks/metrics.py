"""Predictions and answers in, scores out, by scikit-learn and scipy; all as fractions of 1."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bertsmith.config.registry import Registry


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


def _f1(average: str, predicted: np.ndarray, answers: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(answers, predicted, average=average, zero_division=0.0)


def _subset_accuracy(predicted: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of texts all of whose labels are right."""
    from sklearn.metrics import accuracy_score

    return accuracy_score(answers, predicted)


def _mcc(predicted: np.ndarray, answers: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    if is_constant(predicted) or is_constant(answers):
        return 0.0
    return matthews_corrcoef(answers, predicted)


def _pearson(predicted: np.ndarray, answers: np.ndarray) -> float:
    from scipy.stats import pearsonr

    if is_constant(predicted) or is_constant(answers):
        return 0.0
    return pearsonr(predicted.astype(np.float64), answers.astype(np.float64)).statistic


def _spearman(predicted: np.ndarray, answers: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if is_constant(predicted) or is_constant(answers):
        return 0.0
    return spearmanr(predicted, answers).statistic


METRICS: Registry[Callable[[np.ndarray, np.ndarray], float]] = Registry("metric", {
    "accuracy": _accuracy,
    "f1": partial(_f1, "binary"),
    "f1_macro": partial(_f1, "macro"),
    "f1_micro": partial(_f1, "micro"),
    "subset_accuracy": _subset_accuracy,
    "mcc": _mcc,
    "pearson": _pearson,
    "spearman": _spearman,
})  # fmt: skip
