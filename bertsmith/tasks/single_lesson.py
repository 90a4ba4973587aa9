"""What lessons of one task have in common."""

from dataclasses import dataclass
from typing import Any, Protocol

from bertsmith.tasks.class_weights import check_weights
from bertsmith.tasks.early_stopping import divide
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.starting_point import StartingPoint
from bertsmith.tasks.task import Task


class Examples(Protocol):
    """One split, as its file has it."""

    @property
    def num_examples(self) -> int:
        """How many."""

    def fingerprint(self) -> str:
        """Hex sha256 of the content, whatever file it came from."""


class Labelled(Protocol):
    """A task's examples, as its files have them."""

    task: Task
    train: Examples
    dev: Examples


@dataclass(frozen=True)
class SingleLesson:
    """See `bertsmith.tasks.lesson.Lesson`."""

    recipe: FinetuneRecipe
    data: Labelled

    @property
    def task(self) -> Task:
        return self.data.task

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.task.metrics

    @property
    def num_examples(self) -> dict[str, int]:
        return {"train": self.data.train.num_examples, "dev": self.data.dev.num_examples}

    def identity(self) -> dict[str, Any]:
        return {"data": [self.data.train.fingerprint(), self.data.dev.fingerprint()]}

    def check(self, start: StartingPoint) -> None:
        check_weights(self.recipe, self.task)
        if share := self.recipe.early_stopping.share:
            divide(self.data.train.num_examples, share)
