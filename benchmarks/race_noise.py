"""The noise of the race: how far the seeds of a rung's base lie from each other, the measure of what an arm gains."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Noise(NamedTuple):
    """The base's last pinned losses, by seed."""

    losses: Sequence[float]

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.losses) if self.losses else None

    @property
    def sigma(self) -> float | None:
        """Their standard deviation; None of fewer than two seeds."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else None

    def deviations(self, loss: float) -> float | None:
        """How many σ a loss is from the base, negative where it is better; None without a σ."""
        mean, sigma = self.mean, self.sigma
        return (loss - mean) / sigma if mean is not None and sigma else None
