"""What tasks of one task have in common."""

from dataclasses import dataclass
from typing import Any, Protocol

from bertsmith.tasks.class_weights import check_weights
from bertsmith.tasks.early_stopping import divide
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskSpec


class _Examples(Protocol):
    """One split, as its file has it."""

    @property
    def num_examples(self) -> int:
        """How many."""

    def fingerprint(self) -> str:
        """Hex sha256 of the content, whatever file it came from."""


class TaskFiles(Protocol):
    """A task's examples, as its files have them."""

    spec: TaskSpec
    train: _Examples
    dev: _Examples


@dataclass(frozen=True)
class SingleTask:
    """See `bertsmith.tasks.task.Task`."""

    recipe: FinetuneRecipe
    data: TaskFiles

    @property
    def spec(self) -> TaskSpec:
        return self.data.spec

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.spec.metrics

    @property
    def num_examples(self) -> dict[str, int]:
        return {"train": self.data.train.num_examples, "dev": self.data.dev.num_examples}

    def identity(self) -> dict[str, Any]:
        return {"data": [self.data.train.fingerprint(), self.data.dev.fingerprint()]}

    def check(self, start: PretrainedEncoder) -> None:
        check_weights(self.recipe, self.spec)
        if share := self.recipe.early_stopping.share:
            divide(self.data.train.num_examples, share)
