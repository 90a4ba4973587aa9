"""Titles of measures and metrics, for people."""

from collections.abc import Sequence

from bertsmith.reports.runs import Run
from bertsmith.storage.results import task_and_metric

TITLES = {
    "loss": "Loss", "pinned_loss": "Pinned masked-token loss, nats",
    "pinned_bits_per_byte": "Pinned loss, bits a byte of text", "blimp": "BLiMP accuracy",
    "learning_rate": "Learning rate", "tokens_per_second": "Tokens a second",
    "gradient_norm": "Gradient norm before clipping", "mfu": "MFU, share of the measured peak",
    "hidden_cosine": "Mean cosine of different tokens' hidden vectors (near 1: all alike)",
    "memory_bytes": "Memory, GiB", "mcc": "Matthews correlation", "f1": "F1", "pearson": "Pearson correlation",
    "spearman": "Spearman correlation", "mean": "Mean over the tasks", "f1_micro": "Micro F1", "f1_macro": "Macro F1",
    "exact": "Exact match", "best_f1": "F1 at its best threshold", "best_exact": "Exact match at its best threshold",
}  # fmt: skip

SHARES = ("accuracy", "precision", "recall", "f1", "f1_micro", "f1_macro", "exact", "exact_match", "best_f1",
          "best_exact")  # fmt: skip
"""Metrics that are shares of something, shown in percent; correlations are not."""


def measure_title(name: str, runs: Sequence[Run] = ()) -> str:
    """Return the title of a measure or metric, with its task before it where its name has one. The objectives of `runs`
    name their own measures; where these differ, the title has both."""
    if name.startswith("averaged_"):
        return f"{measure_title(name.removeprefix('averaged_'), runs)} (averaged weights)"
    task, metric = task_and_metric(name)
    own = [run.objective.titles.get(metric) for run in runs if run.objective]
    title = " / ".join(dict.fromkeys(filter(None, own))) or TITLES.get(metric) or metric.replace("_", " ").capitalize()
    return f"{task}: {title}" if task else title
