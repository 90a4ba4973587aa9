"""What fine-tuning needs of any task, whatever it is about: Task, Datasets, Split."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives.objective import Batch
from bertsmith.randomness import generator
from bertsmith.tasks.cautions import Look
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.training.machine import Machine

POOLED_BATCHES = 32
"""So many batches of training examples at a time are sorted by length."""


class Outcome(NamedTuple):
    """How a model did."""

    metrics: dict[str, float]
    """By name, as fractions of 1."""
    constant: bool
    """Whether every prediction is the same."""
    baseline: float | None = None
    """The headline's score of always giving the commonest answer; None where all gold answers are the same."""
    cautions: tuple[str, ...] = ()
    """What there is to say of outputs that are alike, or no better than that."""


def outcome_of(metrics: dict[str, float], look: Look) -> Outcome:
    """Return how a model did on one dev set."""
    caution = look.caution()
    return Outcome(metrics, look.same, look.constant, () if caution is None else (caution,))


class TrainSet(Protocol):
    """What a model is trained on; N rows."""

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, tokens of each row."""

    def batches(
        self, batch_size: int, seed: int, similar_lengths: bool = False
    ) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Without end, each batch with the position behind it."""


class EvalSet(Protocol):
    """What a model is scored on."""

    def score(self, objective: nn.Module, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """Predict all examples and score them; with a `folder` the predictions are written there, in files that are
        called after `name` where there can be several."""


class Dataset(ABC):
    """A task's examples as token rows for one model, with their answers: to be trained on, and to be scored on."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """See `TrainSet`."""

    @abstractmethod
    def batch(self, rows: np.ndarray) -> Batch:
        """The rows of these numbers, in this order, with their answers."""

    @abstractmethod
    def score(self, objective: nn.Module, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """See `EvalSet`."""

    def batches(
        self, batch_size: int, seed: int, similar_lengths: bool = False
    ) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Without end: every example once an epoch, in an order drawn for that epoch.

        `similar_lengths` sorts each POOLED_BATCHES batches' worth of examples by length, cuts them into batches and
        draws the order of these: a batch of short rows then needs little padding. Which examples share a pool is still
        chance.
        """
        lengths = self.lengths
        for epoch in count():
            draw = generator(seed, "order", epoch)
            order = draw.permutation(len(lengths))
            if similar_lengths:
                pools = np.arange(len(order)) // (POOLED_BATCHES * batch_size)
                order = order[np.lexsort((lengths[order], pools))]
            cut = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
            for number, place in enumerate(draw.permutation(len(cut)) if similar_lengths else range(len(cut)), start=1):
                yield self.batch(cut[place]), (epoch, number)


class Datasets(NamedTuple):
    """What is trained on, and what is scored."""

    train: TrainSet
    dev: EvalSet
    held_out: EvalSet | None = None
    """Of the training examples those that are not trained on, for `early_stopping`."""
    num_held_out: int = 0
    """Examples in it."""


class Task(Protocol):
    """A task with its files, read: how a model takes them in, and what it learns with."""

    @property
    def spec(self) -> TaskSpec:
        """What is learnt."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of all dev sets; the headline first."""

    @property
    def num_examples(self) -> dict[str, int]:
        """Of "train" and "dev"."""

    def identity(self) -> dict[str, Any]:
        """What tells a run on these files from one on others: hashes of their content."""

    def check(self, start: PretrainedEncoder) -> None:
        """Raises UserError where a model like this cannot learn it, it has no classes to weigh, or too few examples to
        hold a share of them out."""

    def encode(self, start: PretrainedEncoder) -> Datasets:
        """Token rows for this model; what was cut or left out is said on standard error."""

    def objective(self, start: PretrainedEncoder, encoder: Encoder) -> nn.Module:
        """An `Objective`: "encoder", which is this one, shaped as that of `start`, and what sits on it, with the
        weights that `start` has; a head's others are drawn at random."""
