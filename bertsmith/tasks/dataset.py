"""A task's examples as rows, to be trained on and to be scored on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bertsmith.objectives.objective import Batch
from bertsmith.randomness import derived_rng
from bertsmith.storage.files import own_folder
from bertsmith.storage.results import flat_names
from bertsmith.tasks.cautions import caution_of
from bertsmith.training.machine import Machine

MEAN = "mean"
"""The headline of several tasks: the mean of their headlines."""

POOLED_BATCHES = 32
"""So many batches of training examples at a time are sorted by length."""


class Outcome(NamedTuple):
    """A model's scores on a task's examples."""

    metrics: dict[str, float]
    """Scores by name, as fractions of 1, the headline first."""
    is_constant: bool
    """Whether every prediction is the same."""
    majority_score: float | None = None
    """The headline's score of always giving the commonest answer; None where all gold answers are the same."""
    cautions: tuple[str, ...] = ()
    """Warnings of outputs that are all alike, or of a score no better than that."""


def outcome_of(
    metrics: dict[str, float], is_constant: bool, majority_score: float | None, spread: float | None
) -> Outcome:
    """Return how a model did on one dev set, and what there is to say of it; see `caution_of`."""
    metric, score = next(iter(metrics.items()))
    caution = caution_of(metric, score, majority_score, is_constant, spread)
    return Outcome(metrics, is_constant, majority_score, () if caution is None else (caution,))


class Dataset(ABC):
    """A task's examples as token rows for one model, with their answers: to be trained on, and to be scored on."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """[N] int64, tokens of each row."""

    @abstractmethod
    def batch(self, rows: np.ndarray) -> Batch:
        """Return the rows of these numbers, in this order, with their answers."""

    @abstractmethod
    def score(self, objective: Any, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """Predict all examples with an `objective` of the task and score them; with a `folder` the predictions
        are written there, in files that are named after `name` where there can be several."""

    def batches(
        self, batch_size: int, seed: int, similar_lengths: bool = False
    ) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Yield batches without end, each with the position after it: every example once an epoch, in an order drawn
        for that epoch.

        `similar_lengths` sorts each POOLED_BATCHES batches' worth of examples by length, cuts them into batches and
        draws the order of these: a batch of short rows then needs little padding. Which examples share a pool is still
        chance.
        """
        lengths = self.lengths
        for epoch in count():
            rng = derived_rng(seed, "order", epoch)
            order = rng.permutation(len(lengths))
            if similar_lengths:
                pools = np.arange(len(order)) // (POOLED_BATCHES * batch_size)
                order = order[np.lexsort((lengths[order], pools))]
            cut = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
            for number, place in enumerate(rng.permutation(len(cut)) if similar_lengths else range(len(cut)), start=1):
                yield self.batch(cut[place]), (epoch, number)


EvalSets = Mapping[tuple[str, str], Dataset]
"""(task, suffix) → the set to score: "" for a task that is alone, and the end of its metrics' names, "" but of a second
dev set."""


class Datasets(NamedTuple):
    """The sets of a run, to train on and to score."""

    train: Any
    """A `Dataset`, or the `MultiTrainSet` of several tasks."""
    dev: EvalSets
    held_out: EvalSets = MappingProxyType({})
    """Training examples that are not trained on, for `early_stopping`."""
    num_held_out: int = 0


def score_sets(objective: Any, sets: EvalSets, machine: Machine, folder: Path | None = None) -> Outcome:
    """Return how a model does on all of `sets`, with every metric under the name that results.json gives it; with a
    `folder` the predictions are written there, those of one of several tasks into a folder of its own.

    Of several tasks `objective` has `objectives` by task, and the headline is the mean of theirs, `MEAN`.
    """
    outcomes: dict[tuple[str, str], Outcome] = {}
    for (task, suffix), examples in sets.items():
        part = objective.objectives[task] if task else objective
        place = own_folder(folder / task) if folder is not None and task else folder
        outcomes[task, suffix] = examples.score(part, machine, place, f"dev{suffix}")
    scores: dict[str, dict[str, float]] = {}
    for (task, suffix), outcome in outcomes.items():
        scores.setdefault(task, {}).update({name + suffix: score for name, score in outcome.metrics.items()})
    headlines = [outcome for (_, suffix), outcome in outcomes.items() if not suffix]
    if "" not in scores:
        scores = {"": {MEAN: float(np.mean([next(iter(outcome.metrics.values())) for outcome in headlines]))}} | scores
    majority_scores = [outcome.majority_score for outcome in headlines if outcome.majority_score is not None]
    return Outcome(
        flat_names(scores),
        any(outcome.is_constant for outcome in outcomes.values()),
        float(np.mean(majority_scores)) if len(majority_scores) == len(headlines) else None,
        tuple(
            "".join(f"{part}: " for part in (task, suffix.removeprefix("_")) if part) + line
            for (task, suffix), outcome in outcomes.items()
            for line in outcome.cautions
        ),
    )
