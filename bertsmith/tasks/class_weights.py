"""How much each class counts in the loss."""

import numpy as np

from bertsmith.errors import UserError, quoted
from bertsmith.tables.cells import did_you_mean, few_of
from bertsmith.tables.labels import ids_of, key_of
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskSpec


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
    """Return weights [C] float32 of the recipe's or balanced; None where all classes count the same. Of any number of
    labels they are those of the examples that have the label, the others have 1.

    Args:
        counts: [C], training examples (or words) of each class.
        num_examples: their number.
    """
    weights = recipe.custom.weights
    if weights:
        by_key = {key_of(label): weight for label, weight in weights.items()}
        return np.array([by_key.get(key_of(label), 1.0) for label in spec.labels], dtype=np.float32)
    if recipe.class_weights == "none":
        return None
    return spec.answers.balanced(counts, num_examples)
