"""What the quickstart says in the end: its figures, what they allow to say, and where to go from here."""

import math
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.shell import command
from bertsmith.console.terminal import tell
from bertsmith.evals.likelihood import standard_error

WIDTH = 100
"""Of what is printed, in characters, on a terminal and in a log alike."""


def show_figures(results: dict[str, Any], out: Path) -> None:
    """Print the table, what it says about pre-training, and where to go from here."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    before, after, scores = results["before"], results["after"], results["classification"]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for column in ("random weights", "pre-trained", "for scale"):
        table.add_column(column, justify="right")
    table.add_row("held-out loss, nats a token", *(f"{side['mlm_loss']:.2f}" for side in (before, after)), "")
    orders = [_order(side["word_order"], results["pairs"]) for side in (before, after)]
    table.add_row("word order, ± standard error", *orders, "0.500 is chance")
    table.add_row(
        "in order or shuffled, ± standard error",
        *(_plus_minus(scores[name]["mean"], _error(results, name)) for name in ("random", "pretrained")),
        f"{_plus_minus(results['tfidf'], _error(results, 'tfidf'))} TF-IDF",
    )
    drawn = StringIO()
    Console(file=drawn, width=WIDTH, highlight=False).print(table)
    tell(f"\n{drawn.getvalue()}")
    for guess in results["guesses"]:
        tell(f"  {guess}")
    tell()
    for line in told(results):
        tell(fill(line, WIDTH))
    longer = ["quickstart", f"data={out / 'data'}", "plan.hours=2", "--out", Path(f"{out}-2h")]
    tell(f"wrote {out / 'report.html'}, {out / 'hf'}\nnext: {command('bertsmith', 'pretrain', *longer)}")


def told(results: dict[str, Any]) -> list[str]:
    """Return what was done, and what it was worth, in a sentence or two each."""
    seconds, tokens, before, after = (results[key] for key in ("seconds", "tokens", "before", "after"))
    return [
        f"Pre-trained {format_count(results['parameters'])} parameters for {format_seconds(seconds)}: "
        f"{results['steps']:,} steps, {format_count(tokens)} tokens, "
        f"{format_count(tokens / max(seconds, 1e-9))} tokens/s. Held-out loss {before['mlm_loss']:.2f} → "
        f"{after['mlm_loss']:.2f}; word order {before['word_order']:.2f} → {after['word_order']:.2f}.",
        verdict(results),
    ]


def verdict(results: dict[str, Any]) -> str:
    """Return what the accuracies allow to say: a difference within two standard errors of it says nothing."""
    mean, error = results["classification"]["pretrained"]["mean"], _error(results, "pretrained")
    marks = {"random weights": ("random", results["classification"]["random"]["mean"]),
             "TF-IDF with logistic regression": ("tfidf", results["tfidf"])}  # fmt: skip
    parts, signs = [], set()
    for title, (name, mark) in marks.items():
        difference, either = mean - mark, math.hypot(error, _error(results, name))
        signs.add(0 if abs(difference) <= 2 * either else math.copysign(1, difference))
        parts.append(f"{difference:+.3f} ± {either:.3f} against {title}")
    seeds = results["classification"]["pretrained"]["seeds"]
    measured = f"{' and '.join(parts)} ({seeds} seeds, {results['examples']['dev']:,} dev sentences)"
    if signs == {1}:
        return f"Pre-training lifted the classification: {measured}; more text and time lift it further."
    what = "does not lift the classification over both marks"
    if -1 in signs:
        what = "leaves the classification below a mark"
    return f"So little pre-training {what}: {measured}. What it takes is more of it (plan.tokens, plan.hours)."


def _error(results: dict[str, Any], name: str) -> float:
    """Standard error of an accuracy: of the mean over its seeds, if it has any, and of so many dev sentences."""
    if name == "tfidf":
        return standard_error(results["tfidf"], results["examples"]["dev"])
    found = results["classification"][name]
    return math.hypot(
        (found["std"] or 0.0) / found["seeds"] ** 0.5, standard_error(found["mean"], results["examples"]["dev"])
    )


def _order(share: float, pairs: int) -> str:
    return _plus_minus(share, standard_error(share, pairs))


def _plus_minus(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"
