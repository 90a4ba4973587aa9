"""Where the hyper-parameters of a run of all of GLUE are not those of a published protocol."""

from collections.abc import Mapping
from typing import Any

from bertsmith.config.loading import check, identity, read_recipe_values
from bertsmith.tasks.recipe import FinetuneRecipe

MAX_CRAMMING_EPOCHS = 5

NO_HYPERPARAMETERS = ("task", "check_counts", "skip_malformed")

Identities = Mapping[str, Mapping[str, Any]]
"""Task → its run's identity, as `bertsmith.config.loading.identity` returns it: dotted key → value."""


def shared_settings(identities: Identities) -> dict[str, Any]:
    """Return dotted key → its value, or {task: value} where the tasks differ in it."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for side in identities.values() for key in side):
        if key in NO_HYPERPARAMETERS:
            continue
        values = {task: side.get(key) for task, side in identities.items()}
        alike = len(set(map(repr, values.values()))) == 1
        merged[key] = next(iter(values.values())) if alike else values
    return merged


def glue_departures(identities: Identities) -> dict[str, list[str]]:
    """Return protocol, "reference" or "cramming", → where the hyper-parameters of these tasks of GLUE are not its."""
    parameters = shared_settings(identities)
    shipped = shared_settings({task: identity(_shipped(task)) for task in identities})
    departures: dict[str, list[str]] = {"reference": [], "cramming": []}
    changed = [
        key for key, value in parameters.items() if value != shipped.get(key) and key != "compat"
    ]  # compat is nearer to the reference
    if changed:
        departures["reference"].append(f"not the reference's hyper-parameters ({', '.join(changed)})")
    varied = [key for key, value in parameters.items() if isinstance(value, dict)]
    if varied:
        departures["cramming"].append(
            f"not Cramming's protocol, as the hyper-parameters are not one set for all tasks ({', '.join(varied)})"
        )
    if max((side.get("epochs", 0) for side in identities.values()), default=0) > MAX_CRAMMING_EPOCHS:
        departures["cramming"].append(f"not Cramming's protocol, as there are more than {MAX_CRAMMING_EPOCHS} epochs")
    return departures


def _shipped(task: str) -> FinetuneRecipe:
    return check(FinetuneRecipe, read_recipe_values("finetune", task) | {"model": "", "data": ""})
