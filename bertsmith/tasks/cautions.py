"""Cautions about a trial: outputs that are all alike, and scores that the commonest answer would have too."""

from collections.abc import Iterable, Sequence

import numpy as np

from bertsmith.training.run_warnings import EVALUATIONS, standing_still

MIN_SPREAD = 0.01
"""Spread of outputs below which they are alike: of probabilities over the rows, of numbers as a share of the gold ones'
spread."""
MIN_GAIN = 0.01
"""Share of the gap between the commonest answer's score and 1 by which a score has to be above it."""
FEW_EXAMPLES = 100  # where each is a large step, a good score may stand still
TRY_MORE = "more epochs or another learning rate may help"


def caution_of(
    metric: str, score: float, majority_score: float | None, is_constant: bool, spread: float | None
) -> str | None:
    """Return a caution about a model's score on a dev set; None where it seems to have learnt.

    Args:
        metric: the headline.
        majority_score: what always giving the commonest answer scores; None where dev has one answer alone, so that
            nothing shows.
        is_constant: whether every prediction is the same.
        spread: how far outputs are from being the same for all rows (see `spread_of`); None where that is not known.
    """
    if majority_score is None:
        return None
    scored = f"{metric} {score:.4f}"
    if is_constant:
        return f"every dev prediction is the same ({scored}); {TRY_MORE}"
    no_better = "" if score > majority_score + MIN_GAIN * (1 - majority_score) else (
        f"{scored} on dev is no better than always giving the same answer, which has {majority_score:.4f}"
    )  # fmt: skip
    alike = "" if spread is None or spread >= MIN_SPREAD else (
        f"outputs for all dev rows are nearly alike (their spread is {spread:.2g}; {MIN_SPREAD:g} is little)"
    )  # fmt: skip
    return f"{', and '.join(filter(None, [no_better, alike]))}; {TRY_MORE}" if no_better or alike else None


def spread_of(probs: Iterable[np.ndarray]) -> float:
    """Return how much answers differ from row to row: the root of the summed variances, over all rows, of each class's
    probability. 0 where all rows have the same.

    Args:
        probs: of some rows after the other, [N, C].
    """
    count, sums, squares = 0, 0.0, 0.0
    for part in probs:
        exact = part.astype(np.float64)
        count, sums, squares = count + len(exact), sums + exact.sum(axis=0), squares + (exact**2).sum(axis=0)
    return float(np.sqrt(np.maximum(squares / count - (sums / count) ** 2, 0.0).sum())) if count else 0.0


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, [N, C]."""
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def stood_still(metric: str, scores: Sequence[float], majority_score: float | None, num_examples: int) -> str | None:
    """Return a caution about the scores of `num_examples` that were held out, evaluation by evaluation; None where the
    model has learnt, whether or not it still gets better."""
    if majority_score is None:
        return None
    why = standing_still(scores, majority_score)
    moved = max(scores) - min(scores) > 1e-4
    if why is None or (not why and (moved or num_examples < FEW_EXAMPLES)):
        return None
    still = f"has stood still at {scores[-1]:.4f} for {EVALUATIONS} evaluations"
    return f"{metric} on held-out examples {still}{why}; {TRY_MORE}"
