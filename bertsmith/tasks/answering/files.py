"""A task of questions: its files, whatever they are called, and the questions in them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.errors import FilesNotFound, UserError
from bertsmith.storage.files import files_named
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.task_spec import TaskData, TaskSpec

ANSWERABLE_METRICS = ("exact_match", "f1")

UNANSWERABLE_METRICS = ("best_f1", "best_exact", "f1", "exact")
"""At the best thresholds first, as dev figures of SQuAD 2.0 are published: what a model scores at a threshold that was
set for another one says more about the threshold."""


def question_spec(
    name: str,
    find: Callable[[Path, str], Path],
    read: Callable[..., Questions],
    *,
    may_have_none: bool = False,
    columns: tuple[str, str] = ("question", "context"),
) -> TaskSpec:
    """Return a task of questions.

    Args:
        find: gives the file of a split ("train", "dev") in a folder.
        read: gives the questions of a file, with the options `training`, `nearest` and `skip_malformed`, see
            `bertsmith.tasks.published.squad.read_questions`.
    """
    metrics = UNANSWERABLE_METRICS if may_have_none else ANSWERABLE_METRICS
    spec = TaskSpec(name, metrics, may_have_none=may_have_none, input="questions", columns=(columns,))

    def read_split(recipe: Any, split: str) -> Questions:
        named = {"train": recipe.answering.train, "dev": recipe.answering.dev}[split]
        path = find(Path(recipe.data), split) if named is None else Path(named)
        options = {"nearest": recipe.answering.nearest, "skip_malformed": recipe.skip_malformed}
        return read(path, training=split == "train", **options)

    return replace(spec, read=lambda recipe: TaskData(spec, read_split(recipe, "train"), read_split(recipe, "dev")))


def find_questions(data: Path, split: str, folder: str, names: Sequence[str], published: Sequence[str] = ()) -> Path:
    """Return the file of a split, in upper or lower case, in the folder `data` or in its `folder`: one of `names`, or
    of the `published` ones, "split/name". Raises UserError where there is none, or more than one."""
    paths = []
    for place in (data, data / folder):
        paths += files_named(place, names)
        paths += files_named(place / split, [Path(name).name for name in published])
    if not paths:
        raise FilesNotFound(
            f"{data}: no {split} file in it, under none of the names {', '.join([*names, *published])}; data=… names "
            f"the task's folder, answering.{split}=… a file"
        )
    if len(paths) > 1:
        raise UserError(
            f"{data}: both {paths[0].relative_to(data)} and {paths[1].relative_to(data)}; name the one that is meant "
            f"in answering.{split}=…"
        )
    return paths[0]
