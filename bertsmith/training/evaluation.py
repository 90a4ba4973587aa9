"""Held-out losses and measures."""

import math
from collections.abc import Sequence

from bertsmith.objectives.objective import Batch, PretrainingObjective, sum_losses
from bertsmith.training.machine import evaluating
from bertsmith.training.runner import Runner


def held_out_losses(runner: Runner[PretrainingObjective], batches: Sequence[Batch], length: int) -> dict[str, float]:
    """Return the means over all `batches`, with `…_perplexity` for a loss in nats a token."""
    with evaluating(runner.objective):
        means = sum_losses(runner.losses(batch, length) for batch in batches).means()
    perplexities = {
        name.replace("_loss", "_perplexity"): math.exp(min(mean, 100.0))
        for name, mean in means.items()
        if name in runner.objective.settings.perplexities
    }
    return means | perplexities
