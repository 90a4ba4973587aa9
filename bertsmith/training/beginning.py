"""What a run begins with: random weights, those of a model, another run's checkpoint, or its own newest one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bertsmith import __version__
from bertsmith.config.loading import to_dict
from bertsmith.console.terminal import say
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.training.branching import Branch, begin_branch, open_branch
from bertsmith.training.checkpoints import Checkpoint
from bertsmith.training.dealing import checkpoint_of_first
from bertsmith.training.folder import newest_checkpoint, note_initial, note_pooling, note_threads, open_run
from bertsmith.training.initial import open_init_weights, set_weights
from bertsmith.training.machine import Machine
from bertsmith.training.models import fingerprint
from bertsmith.training.staged_rows import StagedRows

BY_CONTENT = ("data", "init", "branch")
"""Settings that name a folder, which may have another path on another machine: its hash is compared."""


class Beginning(NamedTuple):
    """A run's beginning, where it has no checkpoint of its own."""

    state_shapes: Mapping[str, Tensor]
    """The optimizer's state before the first step (`OptimizerSettings.state_shapes`)."""
    new_parameters: frozenset[str] = frozenset()
    """Names of the weights that the model of `init` lacks."""
    message: str = ""
    """What was taken from it, in words."""
    pooling: dict[str, Any] | None = None
    """Its settings for sentence-transformers."""
    branch: Branch | None = None
    fingerprints: Mapping[str, str] = {}
    """Hashes of what it begins with, by the setting's name."""


def read_beginning(rows: StagedRows, run: Path, overwrite: bool, objective: PretrainingObjective) -> Beginning:
    """Read what the recipe's `init` or `branch` names; with `init`, give `objective` its weights.

    Raises:
        UserError: as `optimizer_state_shapes`, `open_init_weights` and `open_branch`.
    """
    recipe, data = rows.recipe, rows.data
    state_shapes = recipe.optimizer_state_shapes(objective)
    if recipe.init is not None:
        initial = open_init_weights(recipe, data.tokenizer, run)
        new_parameters, message = set_weights(objective, initial)
        fingerprints = {"init": initial.fingerprint}
        return Beginning(state_shapes, new_parameters, message, initial.pooling, fingerprints=fingerprints)
    branch = open_branch(recipe, rows.identity, run, overwrite)
    return Beginning(state_shapes, branch=branch, fingerprints={"branch": branch.fingerprint} if branch else {})


def check_same_on_all(rows: StagedRows, beginning: Beginning, machine: Machine) -> None:
    """Raise UserError on a rank whose recipe, data, model to begin with, or code is not the first's."""
    told = {name: value for name, value in to_dict(rows.recipe).items() if name not in BY_CONTENT}
    device = [machine.device.type, str(machine.dtype), machine.compile]
    begun, versions = dict(beginning.fingerprints), {"bertsmith": __version__, "torch": str(torch.__version__)}
    machine.ranks.check_same(
        {
            "the recipe": told,
            "the data": rows.identity,
            "init or branch": begun,
            "the version": versions,
            "device": device,
        }
    )


class Opened(NamedTuple):
    """A run's folder, opened."""

    manifest_before: dict[str, Any]
    """{} where there was none, and on ranks after the first."""
    checkpoint: Checkpoint | None
    """To go on from."""


def open_folder(
    run: Path,
    rows: StagedRows,
    machine: Machine,
    beginning: Beginning,
    objective: PretrainingObjective,
    overwrite: bool,
) -> Opened:
    """Open the folder on the first rank, which has locked it, and return on every rank what the run goes on from.

    Raises:
        UserError: as `open_run`, `newest_checkpoint` and `checkpoint_of_first`.
    """
    before: dict[str, Any] = {}
    checkpoint, branch = None, beginning.branch
    if machine.ranks.is_first:
        before = open_run(run, rows, machine, dict(beginning.fingerprints), overwrite)
        note_pooling(run, beginning.pooling)
        checkpoint = newest_checkpoint(run, objective, beginning.state_shapes, rows.check)
        if branch and checkpoint is None:
            checkpoint = begin_branch(run, rows.recipe, branch, rows.check)
        if checkpoint is None:
            note_initial(run, fingerprint(rows.data.tokenizer, objective.state_dict()))
    return Opened(before, checkpoint_of_first(run, checkpoint, branch and branch.checkpoint, machine.ranks))


def say_beginning(beginning: Beginning, opened: Opened, machine: Machine) -> None:
    """Say what the run begins with, or goes on from."""
    if opened.checkpoint is not None:
        say(f"continuing from {opened.checkpoint.path} (step {opened.checkpoint.state.step:,})", error=True)
        note_threads(opened.manifest_before, machine)
    elif beginning.message:
        say(beginning.message, error=True)
