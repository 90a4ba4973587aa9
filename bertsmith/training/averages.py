"""A run's model with averages for weights: their moving average, or the mean of its newest checkpoints."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.errors import UserError
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.results import AVERAGED
from bertsmith.training.checkpoints import MODEL_FILE, check_tensors, load_newest, read
from bertsmith.training.models import Model
from bertsmith.training.optimizers.optimizer import AVERAGE


def check_averages(averaged: bool, mean_of: int) -> None:
    """Raise ValueError where two averages are asked for."""
    if averaged and mean_of > 1:
        raise ValueError("averaged and mean_of: two averages; leave one of them out")


def with_averages(model: Model, averaged: bool, mean_of: int) -> Model:
    """Return the model of a pre-training run with averages for weights, and with what was measured of them: the moving
    average where `averaged`, the mean of the newest checkpoints where `mean_of` is more than one; else `model` itself.

    Raises:
        UserError: it is no pre-training run, or kept no such averages.
    """
    if not averaged and mean_of == 1:
        return model
    run = model.run
    if run is None:
        raise UserError(f"{model.path}: no pre-training run; averaged and mean_of are of those alone")
    weights = _moving_average(run.path, run.weights) if averaged else _mean_of(run.path, run.weights, mean_of)
    measures = run.manifest.get("measures", {})
    known = {
        name.removeprefix(AVERAGED): value for name, value in measures.items() if averaged and name.startswith(AVERAGED)
    }
    run = replace(run, weights=weights, manifest=run.manifest | {"measures": known})
    return replace(model, run=run, networks=run.networks())


def _moving_average(run: Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a run's newest checkpoint with the moving averages in their place.

    Raises:
        UserError: the run kept none.
    """
    newest = load_newest(run)
    kept: Mapping[str, Tensor] = {} if newest is None else newest.optimizer
    averages = {name: kept[f"{name}.{AVERAGE}"] for name in weights if f"{name}.{AVERAGE}" in kept}
    if not averages:
        raise UserError(
            f"averaged: {run} kept no average of its weights, as it would have with average_decay=0.999 or so; "
            f"mean_of=2 takes the mean of its newest two checkpoints"
        )
    return weights | averages


def _mean_of(run: Path, weights: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the mean of the weights of a run's newest `count` checkpoints; `weights` are those of the newest.

    Raises:
        UserError: it has fewer, or one of them is damaged.
    """
    folders = list(checkpoint_folders(run).values())
    if len(folders) < count:
        raise UserError(
            f"mean_of = {count}: {run} has {len(folders)} checkpoints; plan.keep_checkpoints says how many are kept "
            f"(0: all)"
        )
    found = [read(folder, to_resume=False).model for folder in folders[-count:]]
    for folder, tensors in zip(folders[-count:], found, strict=True):
        check_tensors(tensors.shapes, weights, folder / MODEL_FILE)
    return {
        name: torch.stack([tensors[name] for tensors in found]).mean(0) if weight.is_floating_point() else weight
        for name, weight in weights.items()
    }
