"""What fine-tuning needs of any task, whatever it is about: Lesson, Splits, Split."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import nn

from bertsmith.model.encoder import Encoder
from bertsmith.objectives.objective import Batch
from bertsmith.tasks.starting_point import StartingPoint
from bertsmith.tasks.task import Task
from bertsmith.training.machine import Machine


class Outcome(NamedTuple):
    """How a model did on a split."""

    metrics: dict[str, float]
    """By name, as fractions of 1."""
    constant: bool
    """Whether every prediction is the same."""


class Split(Protocol):
    """A task's examples as token rows for one model, with their answers; N rows."""

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, tokens of each row."""

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows of these numbers, in this order, with their answers."""

    def score(self, objective: nn.Module, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """Predict all examples and score them; with a `folder` the predictions are written there, in files that are
        called after `name` where there can be several."""


class Splits(NamedTuple):
    """What is trained on, and what is scored."""

    train: Split
    dev: dict[str, Split]
    """By what its name and its metrics' names end with: "" the dev set, "_mismatched" the second one of MNLI."""
    held_out: Split | None = None
    """Of the training examples those that are not trained on, for `early_stopping`."""
    num_held_out: int = 0
    """Examples in it."""


class Lesson(Protocol):
    """A task with its files, read: how a model takes them in, and what it learns with."""

    task: Task

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of all dev sets; the headline first."""

    @property
    def num_examples(self) -> dict[str, int]:
        """Of "train" and "dev"."""

    def identity(self) -> dict[str, Any]:
        """What tells a run on these files from one on others: hashes of their content."""

    def check(self, start: StartingPoint) -> None:
        """Raises UserError where a model like this cannot learn it, it has no classes to weigh, or too few examples to
        hold a share of them out."""

    def encode(self, start: StartingPoint) -> Splits:
        """Token rows for this model; what was cut or left out is said on standard error."""

    def objective(self, start: StartingPoint, encoder: Encoder) -> nn.Module:
        """An `Objective`: "encoder", which is this one, shaped as that of `start`, and what sits on it, its weights
        drawn at random."""
