"""A recipe of fine-tuning → its task, or its several, with the files read; and whether a model can have its rows."""

import numpy as np

from bertsmith.console.terminal import say
from bertsmith.encoders.config import check_length
from bertsmith.errors import FilesNotFound, UserError
from bertsmith.randomness import derived_rng
from bertsmith.tasks.answering.question_task import QuestionTask
from bertsmith.tasks.multi_task import MultiTask
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import SEVERAL, FinetuneRecipe
from bertsmith.tasks.task import Task
from bertsmith.tasks.task_spec import Input
from bertsmith.tasks.texts.text_task import TextTask
from bertsmith.tasks.words.tag_task import TagTask

TASK_CLASSES: dict[Input, type[Task]] = {"texts": TextTask, "words": TagTask, "questions": QuestionTask}


def load_task(recipe: FinetuneRecipe) -> Task | MultiTask:
    """Return the recipe's task with its files, read. Raises UserError where they cannot be used."""
    if recipe.task == SEVERAL:
        return MultiTask(recipe, {name: _load_one_of(recipe, name) for name in recipe.several.tasks})
    return _load_one(recipe)


def _load_one(recipe: FinetuneRecipe) -> Task:
    """Return the task of a recipe that has one alone, and say what of its files is left out."""
    assert recipe.spec.read is not None, "as in every spec of the registry"
    data = recipe.spec.read(recipe)
    for examples in (data.train, *data.dev_sets.values()):
        for line in examples.notes:
            say(line, error=True)
    limit, count = recipe.train_examples, data.train.num_examples
    if limit is not None and limit < count:
        chosen = np.sort(derived_rng(0, "training examples").permutation(count)[:limit])
        data = data._replace(train=data.train.take(chosen))
    return TASK_CLASSES[recipe.spec.input](recipe, data)


def _load_one_of(recipe: FinetuneRecipe, name: str) -> Task:
    """Return one of several tasks. Raises UserError as `load_task`; where its files are not there, with how to name
    their folder or do without it."""
    try:
        return _load_one(recipe.of_task(name))
    except FilesNotFound as error:
        folder = f"several.folders=\"{{'{name}'='…'}}\"" if "." in name else f"several.folders.{name}=…"
        others = [task for task in recipe.several.tasks if task != name]
        without = f"several.tasks={others}" if len(others) > 1 else "several.tasks=… without it"
        raise FilesNotFound(
            f"{error}\n{name} is one of several.tasks ({', '.join(recipe.several.tasks)}): {folder} names its folder, "
            f'"{without}" leaves it out'
        ) from None


def check_rows(recipe: FinetuneRecipe, pretrained: PretrainedEncoder, task: Task | MultiTask) -> None:
    """Raise UserError where the model cannot have such rows, or `Task.check` refuses it."""
    try:
        check_length(pretrained.settings, "sequence_length", recipe.sequence_length)
    except ValueError as error:
        raise UserError(str(error)) from None
    task.check(pretrained)
