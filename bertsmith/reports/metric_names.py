"""What metrics are called, for people."""

from bertsmith.storage.results import task_and_metric

METRIC_TITLES = {
    "mcc": "Matthews correlation", "f1": "F1", "pearson": "Pearson correlation", "spearman": "Spearman correlation",
    "mean": "Mean over the tasks", "f1_micro": "Micro F1", "f1_macro": "Macro F1", "exact": "Exact match",
    "best_f1": "F1 at its best threshold", "best_exact": "Exact match at its best threshold",
}  # fmt: skip

SHARES = ("accuracy", "precision", "recall", "f1", "f1_micro", "f1_macro", "exact", "exact_match", "best_f1",
          "best_exact")  # fmt: skip
"""Those that are shares of something, so that percent are natural; correlations are not."""


def metric_title(name: str) -> str:
    """Return a metric's title; a metric of one of several tasks with the task before it."""
    task, metric = task_and_metric(name)
    title = METRIC_TITLES.get(metric, metric.replace("_", " ").capitalize())
    return f"{task}: {title}" if task else title
