"""The architecture that a recipe asks for, beside the one that a model has."""

from dataclasses import fields
from typing import Any

from bertsmith.errors import UserError
from bertsmith.storage.identities import differences

REMEDY = "leave these settings away, since a model's architecture is its own, or name another model"


def sizes(settings: Any) -> dict[str, Any]:
    """Return what of an `EncoderConfig` decides the shapes of the weights and what they compute: not dropout, nor how
    they were drawn, nor what fine-tuning reads classes from."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    values |= {
        "num_attention_heads": settings.heads, "intermediate_size": settings.feed_forward,
        "embedding_size": settings.embedding,
    }  # fmt: skip
    free = ("dropout", "dropout_prob", "initializer_range", "classifier_pooling")
    return {name: value for name, value in values.items() if not name.endswith(free)}


def refuse_differences(
    what: str, prefix: str, recipe: dict[str, Any], model: dict[str, Any], remedy: str | None = None
) -> None:
    """Compare what a recipe says with what a model is.

    Raises:
        UserError: they differ; each key is named.
    """
    changed = differences(*({f"{prefix}{name}": value for name, value in side.items()} for side in (recipe, model)))
    if recipe.get("kind") != model.get("kind"):  # all else follows
        changed = [line for line in changed if line.startswith(f"{prefix}kind:")]
    if changed:
        raise UserError(f"{what} (recipe → model: {'; '.join(changed)}); {remedy or REMEDY}")
