"""Predictions and answers in, scores out, by scikit-learn and scipy; all as fractions of 1."""

from collections.abc import Callable, Sequence

import numpy as np


def measure(names: Sequence[str], predicted: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Scores by name.

    Where the predictions or the answers are all the same, `mcc`, `pearson` and `spearman` are 0 by definition (their
    formulas divide by zero), and so is `f1` where no example is positive in either; see `undefined`.

    Args:
        names: keys of `METRICS`.
        predicted, answers: [N]; class ids, or numbers.
    """
    return {name: float(METRICS[name](predicted, answers)) for name in names}


def is_constant(values: np.ndarray) -> bool:
    return len(values) == 0 or bool((values == values[0]).all())


def undefined(names: Sequence[str], predicted: np.ndarray, answers: np.ndarray) -> list[str]:
    """Those of `names` that are 0 by definition here: scikit-learn's 0 comes with a warning, scipy's is no number."""
    constant = is_constant(predicted) or is_constant(answers)
    none_positive = not predicted.any() and not answers.any()
    return [name for name in names if (none_positive if name == "f1" else constant and name != "accuracy")]


def summarize(scores: Sequence[float]) -> dict[str, float]:
    """Median, mean and sample standard deviation (0 for a single score)."""
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return {"median": float(np.median(scores)), "mean": float(np.mean(scores)), "std": std}


def _accuracy(predicted: np.ndarray, answers: np.ndarray) -> float:
    return float((predicted == answers).mean())


def _f1(predicted: np.ndarray, answers: np.ndarray) -> float:
    """Of class 1 where there are two classes, as GLUE has it; else the mean over the classes."""
    from sklearn.metrics import f1_score

    binary = max(predicted.max(), answers.max()) <= 1
    return f1_score(answers, predicted, average="binary" if binary else "macro", zero_division=0.0)


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


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "mcc": _mcc,
    "pearson": _pearson,
    "spearman": _spearman,
}
