"""The quickstart's results in words: a table of its figures, and the conclusions they allow."""

import math
from collections.abc import Iterator
from textwrap import fill
from typing import Any

from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.terminal import aligned
from bertsmith.evals.likelihood import standard_error
from bertsmith.reports.averages import LINE_WIDTH


def summary(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, the guesses for [MASK], and the conclusions."""
    before, after, scores = results["before"], results["after"], results["classification"]
    yield ""
    yield from aligned([
        ("", "random weights", "pre-trained", "for scale"),
        ("held-out loss, nats a token", *(f"{side['mlm_loss']:.2f}" for side in (before, after)), ""),
        (
            "word order, ± standard error",
            *(_plus_minus(share, standard_error(share, results["pairs"]))
              for share in (before["word_order"], after["word_order"])),
            "0.500 is chance",
        ),
        (
            "in order or shuffled, ± standard error",
            *(_plus_minus(scores[name]["mean"], _error(results, name)) for name in ("random", "pretrained")),
            f"{_plus_minus(results['tfidf'], _error(results, 'tfidf'))} TF-IDF",
        ),
    ])  # fmt: skip
    yield ""
    yield from (f"  {guess}" for guess in results["guesses"])
    yield ""
    yield from (fill(line, LINE_WIDTH) for line in conclusions(results))


def conclusions(results: dict[str, Any]) -> list[str]:
    """Return sentences about the pre-training and about its effect on the classification."""
    seconds, tokens, before, after = (results[key] for key in ("seconds", "tokens", "before", "after"))
    return [
        f"Pre-trained {format_count(results['parameters'])} parameters for {format_seconds(seconds)}: "
        f"{results['steps']:,} steps, {format_count(tokens)} tokens, "
        f"{format_count(tokens / max(seconds, 1e-9))} tokens/s. Held-out loss {before['mlm_loss']:.2f} → "
        f"{after['mlm_loss']:.2f}; word order {before['word_order']:.2f} → {after['word_order']:.2f}.",
        verdict(results),
    ]


def verdict(results: dict[str, Any]) -> str:
    """Return a sentence about the accuracies; a difference within two standard errors is no improvement."""
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
    """Return the standard error of an accuracy: of the mean over its seeds, if it has any, and of the dev sentences."""
    if name == "tfidf":
        return standard_error(results["tfidf"], results["examples"]["dev"])
    found = results["classification"][name]
    return math.hypot(
        (found["std"] or 0.0) / found["seeds"] ** 0.5, standard_error(found["mean"], results["examples"]["dev"])
    )


def _plus_minus(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"
