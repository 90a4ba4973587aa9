"""A labelled task with its examples: what tasks of all inputs have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError, quoted
from bertsmith.objectives.objective import Losses, Objective
from bertsmith.tables.cells import did_you_mean, few_of
from bertsmith.tables.labels import ids_of, key_of
from bertsmith.tasks.dataset import Dataset, Datasets
from bertsmith.tasks.early_stopping import split_held_out
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskData, TaskSpec


@dataclass(frozen=True)
class Task(ABC):
    """A task with its files, read: how a model takes them in, and what it learns with."""

    recipe: FinetuneRecipe
    data: TaskData

    @property
    def spec(self) -> TaskSpec:
        return self.data.spec

    @property
    def name(self) -> str:
        return self.data.spec.name

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of all dev sets; the headline first."""
        return tuple(name + suffix for suffix in self.data.dev_sets for name in self.spec.metrics)

    @property
    def num_examples(self) -> dict[str, int]:
        """Number of examples of "train" and of "dev"."""
        return {"train": self.data.train.num_examples, "dev": self.data.dev.num_examples}

    @property
    def num_characters(self) -> dict[str, int]:
        """Number of characters of "train", and of "dev" with all further dev sets."""
        scored = sum(examples.num_characters for examples in self.data.dev_sets.values())
        return {"train": self.data.train.num_characters, "dev": scored}

    def identity(self) -> dict[str, Any]:
        """Return what tells a run on these files from one on others: hashes of their content."""
        others = {f"{suffix[1:]}_dev": examples.fingerprint() for suffix, examples in self.data.other_devs.items()}
        return {"data": [self.data.train.fingerprint(), self.data.dev.fingerprint()], **others}

    def check(self, pretrained: PretrainedEncoder) -> None:
        """Raise UserError where a model like this cannot learn it, it has no classes to weigh, or too few examples to
        hold a share of them out."""
        check_weights(self.recipe, self.spec)
        if self.recipe.early_stopping.share:
            self.held_out_indices()

    def to_json(self) -> dict[str, Any]:
        """Return what a run's manifest says of the task."""
        return {
            "task": self.name, "metrics": self.metrics, "examples": self.num_examples,
            "scored_on": self.data.scored_on, **self.spec.answers.to_json(),
        }  # fmt: skip

    def encode(self, pretrained: PretrainedEncoder) -> Datasets:
        """Return token rows for this model; say on standard error what was cut or left out."""
        train, held_out = self.split_train()
        return Datasets(
            self.encode_train(train, pretrained),
            {("", suffix): self.encode_examples(dev, pretrained) for suffix, dev in self.data.dev_sets.items()},
            {} if held_out is None else {("", ""): self.encode_examples(held_out, pretrained)},
            0 if held_out is None else held_out.num_examples,
        )

    def split_train(self) -> tuple[Any, Any]:
        """Return the training examples, and those of them that are held out for early stopping; None where none are."""
        train = self.data.train
        if not self.recipe.early_stopping.share:
            return train, None
        kept, held_out = self.held_out_indices()
        return train.take(kept), train.take(held_out)

    def held_out_indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers for `take`: of the examples that are trained on and of those held out."""
        return split_held_out(self.data.train.num_examples, self.recipe.early_stopping.share)

    @abstractmethod
    def encode_examples(self, examples: Any, pretrained: PretrainedEncoder) -> Dataset:
        """Return the examples of a split as rows."""

    @abstractmethod
    def encode_train(self, examples: Any, pretrained: PretrainedEncoder) -> Dataset:
        """Return examples to learn from as rows, with the weights of their classes."""

    @abstractmethod
    def objective(self, pretrained: PretrainedEncoder, encoder: Encoder) -> Objective:
        """Return "encoder", which is this one, shaped as that of `pretrained`, and what sits on it, with the
        weights that `pretrained` has; a head's others are drawn at random."""


def check_weights(recipe: FinetuneRecipe, spec: TaskSpec) -> None:
    """Raise UserError where the recipe weighs what the task does not have."""
    weights = recipe.custom.weights
    if weights and recipe.class_weights != "none":
        raise UserError(f"custom.weights and class_weights={recipe.class_weights}: give one of them")
    if not spec.labels and (weights or recipe.class_weights != "none"):
        key = "custom.weights" if weights else "class_weights"
        raise UserError(f"{key}: {spec.name} has no classes to weigh; leave it out")
    ids = ids_of(spec.labels)
    for label in weights:
        if key_of(label) not in ids:
            raise UserError(
                f"custom.weights: {quoted(label, 60)} is no label of the task; there are {few_of(spec.labels)}"
                f"{did_you_mean(label, spec.labels)}"
            )


def class_weights(recipe: FinetuneRecipe, spec: TaskSpec, counts: np.ndarray, num_examples: int) -> np.ndarray | None:
    """Return the weights of classes, [C] float32, the recipe's or balanced; None where all count the same. `counts` [C]
    are the training examples (or words) of each class, of `num_examples`. Of any number of labels weights are those of
    examples that have the label, the others have 1."""
    weights = recipe.custom.weights
    if weights:
        by_key = {key_of(label): weight for label, weight in weights.items()}
        return np.array([by_key.get(key_of(label), 1.0) for label in spec.labels], dtype=np.float32)
    if recipe.class_weights == "none":
        return None
    return spec.answers.balanced(counts, num_examples)


class SupervisedObjective(Objective):
    """An encoder and a head, with one loss, "loss".

    With `compat` the loss is the sum over the batch instead of its mean, as in google-research/electra,
    run_finetuning.py.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, compat: bool = False):
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.compat = compat

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["loss"] if self.compat else losses.sums["loss"] / denominators["loss"]
