"""Held-out losses and measures."""

import math
from collections.abc import Sequence

from bertsmith.objectives.objective import Batch, Objective, sum_losses
from bertsmith.training.machine import Machine


def evaluate(objective: Objective, batches: Sequence[Batch], machine: Machine, length: int) -> dict[str, float]:
    """Means over all `batches`, with `…_perplexity` for a loss in nats a token. The objective ends in training mode."""
    objective.eval()
    total = sum_losses(machine.losses(objective, batch, length) for batch in batches)
    objective.train()
    means = total.means()
    perplexities = {
        name.replace("_loss", "_perplexity"): math.exp(min(mean, 100.0))
        for name, mean in means.items()
        if name in ("mlm_loss", "cloze_loss")
    }
    return means | perplexities
