"""A moving average of the weights, kept beside the optimizer's state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bertsmith.training.optimizers.optimizer import AVERAGE


class WeightAverage:
    """An exponential moving average of a module's weights, in the state of its optimizer."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, decay: float):
        self.weights: list[Tensor] = list(module.parameters())
        self.averages = [optimizer.state[weight][AVERAGE] for weight in self.weights]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after this step, counted from 0. The first steps' averages are of few steps, so that the
        initial weights are soon forgotten: after t steps the share kept is at most (1 + t) / (10 + t)."""
        kept = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.weights, 1 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the weights, and back."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for weight, average in zip(self.weights, self.averages, strict=True):
            before = weight.clone()
            weight.copy_(average)
            average.copy_(before)
