"""Several tasks as one task: one encoder for all, and for each a head and a loss; a batch is of one task."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives.objective import Batch, Losses, Objective
from bertsmith.randomness import derived_rng
from bertsmith.storage.results import by_task, flat_names
from bertsmith.tasks.dataset import MEAN, Dataset, Datasets, EvalSets
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import SEVERAL, FinetuneRecipe, module_name_of
from bertsmith.tasks.task import Task


class MultiTaskModel(Objective):
    """An objective a task on one encoder; a batch is of one task, and its losses have the task's name before theirs, as
    in "rte.loss"."""

    def __init__(self, encoder: Encoder, objectives: dict[str, Objective]):
        """Join the `objectives` of the tasks, each with this `encoder`."""
        super().__init__()
        self.encoder = encoder
        self.objectives = objectives  # in a plain dict, so that the encoder is among the weights once
        self.heads = nn.ModuleDict()
        for task, objective in objectives.items():
            parts = {name: part for name, part in objective.named_children() if part is not encoder}
            self.heads[module_name_of(task)] = nn.ModuleDict(parts)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        assert batch.task is not None
        return flat_names({batch.task: self.objectives[batch.task].counts(batch)})

    def losses(self, batch: Batch) -> Losses:
        assert batch.task is not None
        losses = self.objectives[batch.task].losses(batch)
        return Losses(flat_names({batch.task: losses.sums}), flat_names({batch.task: losses.counts}))

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        """Return the task's total. The other tasks' heads get gradients of zero, as in the reference, where a batch's
        loss is the sum of all tasks'. So every step has the same gradients, which a recorded one has to have."""
        [(task, sums)] = by_task(losses.sums).items()
        its_losses = Losses(sums, by_task(losses.counts)[task])
        total = self.objectives[task].total(its_losses, by_task(denominators)[task])
        idle = (head for name, head in self.heads.items() if name != module_name_of(task))
        return total + 0.0 * sum(parameter.sum() for head in idle for parameter in head.parameters())


class MultiTrainSet(NamedTuple):
    """The training examples of several tasks."""

    datasets: dict[str, Dataset]
    power: float
    """See `SeveralSettings`."""

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, tokens of each row of all tasks."""
        return np.concatenate([dataset.lengths for dataset in self.datasets.values()])

    def shares(self) -> np.ndarray:
        """Return with which probability a batch is of each task; they add up to 1."""
        weights = np.array([len(dataset.lengths) for dataset in self.datasets.values()], dtype=np.float64) ** self.power
        return weights / weights.sum()

    def batches(
        self, batch_size: int, seed: int, similar_lengths: bool = False
    ) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Yield batches without end, each of a task that is drawn by the shares. Each task goes through its own epochs:
        all its examples come before any comes again."""
        streams = [dataset.batches(batch_size, seed, similar_lengths) for dataset in self.datasets.values()]
        tasks, probs = list(self.datasets), self.shares()
        for step in count():
            place = derived_rng(seed, "tasks", step).choice(len(tasks), p=probs)
            batch, _ = next(streams[place])
            yield replace(batch, task=tasks[place]), (step + 1,)


class MultiTask(NamedTuple):
    """Several tasks, which do as one what a `Task` does."""

    recipe: FinetuneRecipe
    tasks: dict[str, Task]

    @property
    def name(self) -> str:
        return SEVERAL

    @property
    def metrics(self) -> tuple[str, ...]:
        named = {name: dict.fromkeys(task.metrics) for name, task in self.tasks.items()}
        return tuple(flat_names({"": {MEAN: None}} | named))

    @property
    def num_examples(self) -> dict[str, int]:
        return {split: sum(task.num_examples[split] for task in self.tasks.values()) for split in ("train", "dev")}

    @property
    def num_characters(self) -> dict[str, int]:
        return {split: sum(task.num_characters[split] for task in self.tasks.values()) for split in ("train", "dev")}

    def identity(self) -> dict[str, Any]:
        return flat_names({name: task.identity() for name, task in self.tasks.items()})

    def to_json(self) -> dict[str, Any]:
        parts = {name: task.to_json() for name, task in self.tasks.items()}
        return {"task": self.name, "metrics": self.metrics, "examples": self.num_examples, "tasks": parts}

    def check(self, pretrained: PretrainedEncoder) -> None:
        for task in self.tasks.values():
            task.check(pretrained)

    def encode(self, pretrained: PretrainedEncoder) -> Datasets:
        encoded = {name: task.encode(pretrained) for name, task in self.tasks.items()}
        train = MultiTrainSet({task: datasets.train for task, datasets in encoded.items()}, self.recipe.several.power)
        self._say_shares(train)
        dev = _sets_by_task({task: datasets.dev for task, datasets in encoded.items()})
        held_out = _sets_by_task({task: datasets.held_out for task, datasets in encoded.items()})
        return Datasets(train, dev, held_out, sum(datasets.num_held_out for datasets in encoded.values()))

    def objective(self, pretrained: PretrainedEncoder, encoder: Encoder) -> MultiTaskModel:
        return MultiTaskModel(encoder, {name: task.objective(pretrained, encoder) for name, task in self.tasks.items()})

    def _say_shares(self, train: MultiTrainSet) -> None:
        total = len(train.lengths)
        for (task, dataset), share in zip(train.datasets.items(), train.shares(), strict=True):
            size = len(dataset.lengths)
            seen = self.recipe.epochs * share * total / size
            say(f"{task}: {size:,} rows, {share:.1%} of the batches, each row {seen:.3g} times", error=True)


def _sets_by_task(sets: Mapping[str, EvalSets]) -> EvalSets:
    """Return the sets of all tasks, each under its task's name."""
    return {(task, suffix): part for task, its_sets in sets.items() for (_, suffix), part in its_sets.items()}
