"""How much each class counts in the loss."""

import numpy as np

from bertsmith.console.terminal import say
from bertsmith.errors import UserError, quoted
from bertsmith.tasks.cells import did_you_mean, few_of
from bertsmith.tasks.labels import alike_in_case, ids_of, key_of
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskSpec


def check_weights(recipe: FinetuneRecipe, task: TaskSpec) -> None:
    """Raises UserError where the recipe weighs what the task does not have."""
    weights = recipe.custom.weights
    if weights and recipe.class_weights != "none":
        raise UserError(f"custom.weights and class_weights={recipe.class_weights}: give one of them")
    if task.is_regression and (weights or recipe.class_weights != "none"):
        key = "custom.weights" if weights else "class_weights"
        raise UserError(f"{key}: {task.name} has no classes to weigh; leave it out")
    ids = ids_of(task.labels)
    for label in weights:
        if key_of(label) not in ids:
            raise UserError(
                f"custom.weights: {quoted(label, 60)} is no label of the task; there are {few_of(task.labels)}"
                f"{did_you_mean(label, task.labels)}"
            )


def class_weights(recipe: FinetuneRecipe, task: TaskSpec, counts: np.ndarray, num_examples: int) -> np.ndarray | None:
    """[C] float32; None where all count the same. Of a multi-label task they are those of the examples that have the
    label, the others have 1.

    `balanced` gives every class the same sum of weights, N / (classes × examples of the class), as scikit-learn does;
    of multi-label, to those with and those without a label: examples without it / examples with it.

    Args:
        counts: [C], training examples (or words) of each class.
        num_examples: their number N, on which multi-label's counts do not say.
    """
    weights = recipe.custom.weights
    if weights:
        by_key = {key_of(label): weight for label, weight in weights.items()}
        return np.array([by_key.get(key_of(label), 1.0) for label in task.labels], dtype=np.float32)
    if recipe.class_weights == "none":
        return None
    some = np.maximum(counts, 1)  # a class that training lacks is never weighed
    if task.is_multi_label:
        return (np.maximum(num_examples - counts, 1) / some).astype(np.float32)
    return (num_examples / (np.count_nonzero(counts) * some)).astype(np.float32)


def say_classes(task: TaskSpec, counts: np.ndarray, of_what: str) -> None:
    """Say on standard error which classes a task has, so that a user sees what was understood.

    Args:
        counts: [C], training examples (or words) of each.
        of_what: how many examples (or words) there are, and their name.
    """
    kind = "labels" if task.is_multi_label else "classes"
    counted = [
        f"{label if len(label) <= 30 else f'{label[:29]}…'} ({count:,})"
        for label, count in zip(task.labels, counts.tolist(), strict=True)
    ]
    say(f"{task.name}: {len(task.labels):,} {kind} in {of_what}: {few_of(counted)}", error=True)
    for label, other in alike_in_case(task.labels)[:5]:
        say(
            f"{task.name}: {quoted(label, 60)} and {quoted(other, 60)} differ in upper and lower case alone, and are "
            f"two {kind}",
            error=True,
        )
