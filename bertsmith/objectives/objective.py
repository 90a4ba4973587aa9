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
    original_ids: Tensor | None = None
    """[T] int64, the ids of `tokens` before some were masked; None where an objective does not ask for them."""

    def split(self, num_rows: int) -> Iterator["Batch"]:
        """Micro-batches of at most `num_rows` rows, in order (on the host, before padding)."""
        if num_rows >= self.tokens.num_rows:
            yield self
            return
        for start in range(0, self.tokens.num_rows, num_rows):
            stop = min(start + num_rows, self.tokens.num_rows)
            targets = {name: target[start:stop] for name, target in self.targets.items()}
            tokens, ids = self.tokens.rows(start, stop), self.original_ids
            first = int(self.tokens.row_starts[start])
            yield Batch(tokens, targets, None if ids is None else ids[first : first + tokens.num_tokens])

    def padded(self, length: int, pad_id: int) -> "Batch":
        ids = self.original_ids
        if ids is not None:
            ids = self.tokens.with_ids(ids).padded(length, pad_id).ids
        return Batch(self.tokens.padded(length, pad_id), self.targets, ids)

    def tensors(self) -> dict[str, Tensor]:
        """All there are, by name."""
        tokens = {f"tokens.{name}": tensor for name, tensor in self.tokens.tensors().items()}
        targets = {f"targets.{name}": tensor for name, tensor in self.targets.items()}
        return tokens | targets | ({} if self.original_ids is None else {"original_ids": self.original_ids})

    def pinned(self) -> "Batch":
        """In memory from which a GPU copies while the host goes on."""
        targets = {name: target.pin_memory() for name, target in self.targets.items()}
        ids = self.original_ids
        return Batch(self.tokens.pinned(), targets, None if ids is None else ids.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        targets = {name: copy_to(target, device) for name, target in self.targets.items()}
        ids = self.original_ids
        return Batch(self.tokens.to(device), targets, None if ids is None else copy_to(ids, device))


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

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Return over how many tokens or rows of `batch`, on the host or the device, each loss is summed."""

    def losses(self, batch: Batch) -> Losses:
        """Run the model. While training only the losses; in evaluation mode the measures too."""

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        """Return the scalar to differentiate: each loss over the whole batch's count, weighted."""


def denominators_of(objective: Objective, batch: Batch) -> dict[str, float]:
    """Return what each loss of a whole batch, which is on the host, is divided by: its count, or 1 where that is 0."""
    return {name: float(count) or 1.0 for name, count in objective.counts(batch).items()}


PackedRows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Ids [T], segment ids [T] and lengths [N] of rows laid end to end, as `Tokens.pack` takes them."""


class Collator(Protocol):
    """Makes batches out of rows, on the host; needs no model."""

    def __call__(self, rows: PackedRows, generator: np.random.Generator, progress: float = 0.0) -> Batch:
        """Return the rows with what is asked about them. `progress` of the plan, from 0 to 1, is done."""


class PretrainingObjective(Objective, Protocol):
    """An objective that learns from plain text, of which a collator makes its batches; `encoder` is what is kept."""

    encoder: Encoder

    def hidden(self, tokens: Tokens) -> Tensor:
        """The vectors that the encoder makes of tokens: [T] → [T, D]."""

    def flops_per_token(self, length: int) -> float:
        """Forward, for one token of a row of `length` tokens."""

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """For the backward pass, of one token of a row of `length` tokens."""
