"""A labelled task, and what all kinds of tasks have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.tasks.class_weights import check_weights
from bertsmith.tasks.dataset import Datasets
from bertsmith.tasks.early_stopping import divide
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskFiles, TaskSpec


@dataclass(frozen=True)
class Task(ABC):
    """A task with its files, read: how a model takes them in, and what it learns with."""

    recipe: FinetuneRecipe
    data: TaskFiles

    @property
    def spec(self) -> TaskSpec:
        return self.data.spec

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of all dev sets; the headline first."""
        return tuple(name + edition for edition in self.data.dev_sets for name in self.spec.metrics)

    @property
    def num_examples(self) -> dict[str, int]:
        """Of "train" and "dev"."""
        return {"train": self.data.train.num_examples, "dev": self.data.dev.num_examples}

    def identity(self) -> dict[str, Any]:
        """Return what tells a run on these files from one on others: hashes of their content."""
        others = {f"{edition[1:]}_dev": examples.fingerprint() for edition, examples in self.data.other_devs.items()}
        return {"data": [self.data.train.fingerprint(), self.data.dev.fingerprint()], **others}

    def check(self, start: PretrainedEncoder) -> None:
        """Raise UserError where a model like this cannot learn it, it has no classes to weigh, or too few examples to
        hold a share of them out."""
        check_weights(self.recipe, self.spec)
        if share := self.recipe.early_stopping.share:
            divide(self.data.train.num_examples, share)

    @abstractmethod
    def encode(self, start: PretrainedEncoder) -> Datasets:
        """Return token rows for this model; say on standard error what was cut or left out."""

    @abstractmethod
    def objective(self, start: PretrainedEncoder, encoder: Encoder) -> nn.Module:
        """Return an `Objective`: "encoder", which is this one, shaped as that of `start`, and what sits on it, with the
        weights that `start` has; a head's others are drawn at random."""
