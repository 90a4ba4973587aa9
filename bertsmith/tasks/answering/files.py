"""Which files a task of questions is in, whatever they are called, and the questions in them."""

from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.storage.files import files_named
from bertsmith.tasks.answering.mrqa import read_mrqa_questions
from bertsmith.tasks.answering.question_columns import read_question_columns
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.squad import read_questions
from bertsmith.tasks.custom import find_file
from bertsmith.tasks.task_spec import TaskFiles, TaskSpec

SQUAD_FOLDERS = {"squad-v1.1": "squadv1", "squad-v2.0": "squad"}
"""The reference's folder of a task."""

MRQA_NAMES = {
    "newsqa": ("NewsQA",), "naturalqs": ("NaturalQuestionsShort", "NaturalQuestions"),
    "triviaqa": ("TriviaQA-web", "TriviaQA"), "searchqa": ("SearchQA",),
}  # fmt: skip
"""What MRQA 2019 calls a task's file, in its folders train and dev."""

ANSWERABLE_METRICS = ("exact_match", "f1")

UNANSWERABLE_METRICS = ("best_f1", "best_exact", "f1", "exact")
"""At the best thresholds first, as dev figures of SQuAD 2.0 are published: what a model scores at a threshold that was
set for another one says more about the threshold."""


def read_asked(recipe: Any) -> TaskFiles:
    """Return the task of a `FinetuneRecipe`.

    Raises:
        UserError: a file is missing, or there are several; as the readers of the task's files.
    """
    metrics = UNANSWERABLE_METRICS if recipe.unanswerable else ANSWERABLE_METRICS
    spec = TaskSpec(recipe.task, metrics, may_have_none=recipe.unanswerable)
    return TaskFiles(spec, _read(recipe, "train"), _read(recipe, "dev"))


def _read(recipe: Any, split: str) -> Questions:
    named = {"train": recipe.answering.train, "dev": recipe.answering.dev}[split]
    path, nearest = find_questions(recipe, split) if named is None else Path(named), recipe.answering.nearest
    options = {"training": split == "train", "nearest": nearest, "skip_malformed": recipe.skip_malformed}
    if recipe.task == "custom":
        return read_question_columns(path, recipe.custom, **options)
    if recipe.task in MRQA_NAMES:
        return read_mrqa_questions(path, **options)
    return read_questions(path, answerable=recipe.task == "squad-v1.1", **options)


def find_questions(recipe: Any, split: str) -> Path:
    """Return the file of this split: under its published name or the reference's, in upper or lower case, in the folder
    `data` or in the task's own folder there. Raises UserError where there is none, or more than one."""
    data, task = Path(recipe.data), recipe.task
    if task == "custom":
        return find_file(data, split)
    if task in MRQA_NAMES:
        folder, endings = task, (".jsonl", ".jsonl.gz")
        names = [f"{split}{ending}" for ending in endings]
        published = [f"{split}/{name}{ending}" for name in MRQA_NAMES[task] for ending in endings]
    else:
        folder, names = SQUAD_FOLDERS[task], [f"{split}-{task.removeprefix('squad-')}.json", f"{split}.json"]
        published = []
    paths = []
    for place in (data, data / folder):
        paths += files_named(place, names)
        paths += files_named(place / split, [Path(name).name for name in published])
    if not paths:
        names += published
        raise UserError(
            f"{data}: no {split} file in it, under none of the names {', '.join(names)}; data=… names the task's "
            f"folder, answering.{split}=… a file"
        )
    if len(paths) > 1:
        raise UserError(
            f"{data}: both {paths[0].relative_to(data)} and {paths[1].relative_to(data)}; name the one that is meant "
            f"in answering.{split}=…"
        )
    return paths[0]
