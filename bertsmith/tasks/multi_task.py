"""Several tasks as one task: one encoder for all, and for each a head and a loss; a batch is of one task."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor, nn

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives.objective import Batch, Losses, Objective
from bertsmith.randomness import generator
from bertsmith.storage.files import own_folder
from bertsmith.tasks.mixing import SEVERAL, head_of, metric_of, shares, task_and_metric
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task import Datasets, EvalSet, Outcome, Task, TrainSet
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.training.machine import Machine

MEAN = "mean"
"""The headline: the mean of the tasks' headlines."""

Value = TypeVar("Value")


class MultiTaskModel(nn.Module):
    """An objective a task on one encoder; a batch is of one task, and its losses have the task's name before theirs, as
    in "rte.loss"."""

    def __init__(self, encoder: Encoder, objectives: dict[str, Objective]):
        """`objectives` are the tasks', each with this `encoder`."""
        super().__init__()
        self.encoder = encoder
        self.objectives = objectives  # in a plain dict, so that the encoder is among the weights once
        self.heads = nn.ModuleDict()
        for task, objective in objectives.items():
            own = {name: part for name, part in objective.named_children() if part is not encoder}
            self.heads[head_of(task)] = nn.ModuleDict(own)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return _named(batch.task, self.objectives[batch.task].counts(batch))

    def losses(self, batch: Batch) -> Losses:
        losses = self.objectives[batch.task].losses(batch)
        return Losses(_named(batch.task, losses.sums), _named(batch.task, losses.counts))

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        """The other tasks' heads get gradients of zero, as in the reference, where a batch's loss is the sum of all
        tasks'. So every step has the same gradients, which a recorded one has to have."""
        task, sums = _own(losses.sums)
        total = self.objectives[task].total(Losses(sums, _own(losses.counts)[1]), _own(denominators)[1])
        idle = (head for name, head in self.heads.items() if name != head_of(task))
        return total + 0.0 * sum(parameter.sum() for head in idle for parameter in head.parameters())


class MultiTrainSet(NamedTuple):
    """What several tasks are trained on; see `bertsmith.tasks.task.TrainSet`."""

    splits: dict[str, TrainSet]
    power: float
    """See `SeveralSettings`."""

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, tokens of each row of all tasks."""
        return np.concatenate([split.lengths for split in self.splits.values()])

    def shares(self) -> np.ndarray:
        """Of each task, its share of the batches."""
        return shares([len(split.lengths) for split in self.splits.values()], self.power)

    def batches(
        self, batch_size: int, seed: int, similar_lengths: bool = False
    ) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Without end, each batch of a task that is drawn by the shares. Each task goes through its own epochs: all its
        examples come before any comes again."""
        streams = [split.batches(batch_size, seed, similar_lengths) for split in self.splits.values()]
        tasks, probs = list(self.splits), self.shares()
        for step in count():
            place = generator(seed, "tasks", step).choice(len(tasks), p=probs)
            batch, _ = next(streams[place])
            yield replace(batch, task=tasks[place]), (step + 1,)


class MultiEvalSet(NamedTuple):
    """The dev sets of several tasks, or what is held out of them; see `bertsmith.tasks.task.EvalSet`."""

    dev: dict[str, EvalSet]
    headlines: dict[str, str]
    """Task → the first of its metrics."""

    def score(
        self, objective: MultiTaskModel, machine: Machine, folder: Path | None = None, name: str = "dev"
    ) -> Outcome:
        """`MEAN`, and every task's metrics behind the task's name; what a task writes is in a folder of its own."""
        found: dict[str, float] = {}
        outcomes: dict[str, Outcome] = {}
        for task, dev in self.dev.items():
            own = None if folder is None else own_folder(folder / task)
            outcome = dev.score(objective.objectives[task], machine, own, name)
            found |= _named(task, outcome.metrics)
            outcomes[task] = outcome
        headlines = [found[metric_of(task, metric)] for task, metric in self.headlines.items() if task in self.dev]
        baselines = [outcome.baseline for outcome in outcomes.values()]
        return Outcome(
            {MEAN: float(np.mean(headlines))} | found,
            any(outcome.constant for outcome in outcomes.values()),
            None if None in baselines else float(np.mean(baselines)),
            tuple(f"{task}: {line}" for task, outcome in outcomes.items() for line in outcome.cautions),
        )


class MultiTask(NamedTuple):
    """See `bertsmith.tasks.task.Task`."""

    recipe: FinetuneRecipe
    tasks: dict[str, Task]

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(SEVERAL, self.metrics)

    @property
    def metrics(self) -> tuple[str, ...]:
        own = (metric_of(name, metric) for name, task in self.tasks.items() for metric in task.metrics)
        return (MEAN, *own)

    @property
    def num_examples(self) -> dict[str, int]:
        return {split: sum(task.num_examples[split] for task in self.tasks.values()) for split in ("train", "dev")}

    def identity(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, task in self.tasks.items():
            found |= _named(name, task.identity())
        return found

    def check(self, start: PretrainedEncoder) -> None:
        for task in self.tasks.values():
            task.check(start)

    def encode(self, start: PretrainedEncoder) -> Datasets:
        encoded = {name: task.encode(start) for name, task in self.tasks.items()}
        train = MultiTrainSet({task: splits.train for task, splits in encoded.items()}, self.recipe.several.power)
        headlines = {name: task.metrics[0] for name, task in self.tasks.items()}
        self._say_shares(train)
        dev = MultiEvalSet({task: splits.dev for task, splits in encoded.items()}, headlines)
        held_out = {task: splits.held_out for task, splits in encoded.items() if splits.held_out is not None}
        watched = MultiEvalSet(held_out, headlines) if held_out else None
        return Datasets(train, dev, watched, sum(splits.num_held_out for splits in encoded.values()))

    def objective(self, start: PretrainedEncoder, encoder: Encoder) -> MultiTaskModel:
        return MultiTaskModel(encoder, {name: task.objective(start, encoder) for name, task in self.tasks.items()})

    def _say_shares(self, train: MultiTrainSet) -> None:
        total = len(train.lengths)
        for (task, split), share in zip(train.splits.items(), train.shares(), strict=True):
            size = len(split.lengths)
            seen = self.recipe.epochs * share * total / size
            say(f"{task}: {size:,} rows, {share:.1%} of the batches, each row {seen:.3g} times", error=True)


def _named(task: str, values: Mapping[str, Value]) -> dict[str, Value]:
    return {metric_of(task, name): value for name, value in values.items()}


def _own(values: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
    """The one task that `values` are of, and what they are called there."""
    [task] = {task_and_metric(name)[0] for name in values}
    return task, {task_and_metric(name)[1]: value for name, value in values.items()}
