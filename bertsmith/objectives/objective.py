"""What an objective is, and the two nouns it speaks: Batch and Losses."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bertsmith.encoders.costs import Precision
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.tokens import Tokens, copy_to


@dataclass(frozen=True)
class Batch:
    """Rows and what is asked about them."""

    tokens: Tokens
    targets: dict[str, Tensor]
    """By name, [N, …]: one entry a row, so that a batch can be cut between rows."""

    def split(self, num_rows: int) -> Iterator["Batch"]:
        """Micro-batches of at most `num_rows` rows, in order (on the host, before padding)."""
        if num_rows >= self.tokens.num_rows:
            yield self
            return
        for start in range(0, self.tokens.num_rows, num_rows):
            stop = min(start + num_rows, self.tokens.num_rows)
            targets = {name: target[start:stop] for name, target in self.targets.items()}
            yield Batch(self.tokens.rows(start, stop), targets)

    def padded(self, length: int, pad_id: int) -> "Batch":
        return Batch(self.tokens.padded(length, pad_id), self.targets)

    def tensors(self) -> dict[str, Tensor]:
        """All there are, by name."""
        tokens = {f"tokens.{name}": tensor for name, tensor in self.tokens.tensors().items()}
        return tokens | {f"targets.{name}": tensor for name, tensor in self.targets.items()}

    def pinned(self) -> "Batch":
        """In memory from which a GPU copies while the host goes on."""
        targets = {name: target.pin_memory() for name, target in self.targets.items()}
        return Batch(self.tokens.pinned(), targets)

    def to(self, device: torch.device) -> "Batch":
        targets = {name: copy_to(target, device) for name, target in self.targets.items()}
        return Batch(self.tokens.to(device), targets)


@dataclass(frozen=True)
class Losses:
    """Named sums with their counts, never means: micro-batches and processes add up, and the mean is taken once."""

    sums: Mapping[str, Tensor]
    """0-dimensional; those that carry a gradient are the objective's losses, the others are measures."""
    counts: Mapping[str, Tensor | float]

    def __add__(self, other: "Losses") -> "Losses":
        """What only one of them has stays as it is."""
        return Losses(_added(self.sums, other.sums), _added(self.counts, other.counts))

    def detach(self) -> "Losses":
        return Losses({name: total.detach() for name, total in self.sums.items()}, self.counts)

    def means(self) -> dict[str, float]:
        """Each sum over its count; NaN where nothing was counted."""
        counts = {name: float(count) for name, count in self.counts.items()}
        sums = {name: float(total.detach()) for name, total in self.sums.items()}
        return {name: total / counts[name] if counts[name] else float("nan") for name, total in sums.items()}


NO_LOSSES = Losses({}, {})


def _added(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {**ours, **{name: ours[name] + value if name in ours else value for name, value in theirs.items()}}


def sum_losses(parts: Iterable[Losses]) -> Losses:
    """Of micro-batches, in their order."""
    return sum(parts, NO_LOSSES)


class Objective(Protocol):
    """What the training loop needs of an objective, which is a `torch.nn.Module` besides."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """What each loss of a whole batch is divided by, above 0; known on the host before any part is run."""

    def losses(self, batch: Batch) -> Losses:
        """Run the model. While training only the losses; in evaluation mode the measures too."""

    def total(self, losses: Losses, counts: Mapping[str, float | Tensor]) -> Tensor:
        """The scalar to differentiate: each loss over the whole batch's count, weighted."""


class PretrainingObjective(Objective, Protocol):
    """An objective that asks its own questions of plain text; `encoder` is what it is all for."""

    encoder: Encoder

    def corrupt(self, tokens: Tokens, length: int, generator: np.random.Generator, progress: float = 0.0) -> Batch:
        """Packed rows with what is asked about them, on the host; no row is longer than `length` tokens, and `progress`
        of the plan, from 0 to 1, is done."""

    def hidden(self, tokens: Tokens) -> Tensor:
        """The vectors that the encoder makes of tokens: [T] → [T, D]."""

    def flops_per_token(self, length: int) -> float:
        """Forward, for one token of a row of `length` tokens."""

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """For the backward pass, of one token of a row of `length` tokens."""
