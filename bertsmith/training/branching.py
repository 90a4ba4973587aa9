"""A branch of a run: from one of its checkpoints on, with its optimizer and place in the data, to a rate of zero.

The run itself goes on at a constant rate, and can be branched again later.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bertsmith.config.loading import defaults, identity
from bertsmith.errors import UserError
from bertsmith.storage.files import sha256_json
from bertsmith.storage.folders import as_written_now, checkpoint_folders, differences
from bertsmith.storage.manifests import read_manifest
from bertsmith.training import checkpoints
from bertsmith.training.checkpoints import Checkpoint
from bertsmith.training.loop import State
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import ScheduleSettings, WarmupStableDecaySettings

OWN = ("plan.", "schedule.")
"""Settings that a branch may have otherwise than its run."""


class Branch(NamedTuple):
    """Where a branch begins."""

    checkpoint: Checkpoint
    fingerprint: str
    """Of the checkpoint's files: part of the branch's identity."""


def open_branch(recipe: PretrainRecipe, data_hash: str) -> Branch:
    """Read the checkpoint that `recipe.branch` names, as RUN@STEP.

    Raises:
        UserError: it names no step; there is no such run or checkpoint, or it is damaged; the run's settings, those of
            plan and schedule apart, or its data are others; the plan ends before that step.
    """
    assert recipe.branch is not None
    name, _, step = recipe.branch.rpartition("@")
    if not name or not step.isdigit():
        raise UserError(f"branch = {recipe.branch}: names no step; write RUN@STEP, as in branch=runs/stable@20000")
    run = Path(name)
    manifest = read_manifest(run, "pretrain")
    own = identity(recipe) | {"data": data_hash}
    before = as_written_now(manifest["identity"], own, defaults(recipe))
    kept = [{key: value for key, value in side.items() if not key.startswith(OWN)} for side in (before, own)]
    if changed := differences(*kept):
        raise UserError(
            f"branch = {recipe.branch}: not the settings of that run ({changed[0]}); a branch has its own plan and "
            f"schedule, and nothing else"
        )
    folders = checkpoint_folders(run)
    if int(step) not in folders:
        there = ", ".join(map(str, folders)) or "none"
        raise UserError(f"{run}: has no checkpoint of step {step}, but {there}; plan.keep_checkpoints=0 keeps all")
    checkpoint = checkpoints.read(folders[int(step)])
    if _progress(recipe, checkpoint.state) >= 1.0:
        raise UserError(
            f"branch = {recipe.branch}: the plan, {recipe.plan.total:,} {recipe.plan.unit}, is done by then"
        )
    return Branch(checkpoint, sha256_json(read_manifest(checkpoint.path, "checkpoint")["files"]))


def decaying_from(recipe: PretrainRecipe, state: State) -> ScheduleSettings:
    """Return the recipe's schedule as one that falls from `state` to the plan's end."""
    assert isinstance(recipe.schedule, WarmupStableDecaySettings), "as the recipe's check says"
    begun = _progress(recipe, state)
    warmup = min(recipe.schedule.warmup_proportion, begun)
    return replace(recipe.schedule, warmup_proportion=warmup, decay_proportion=1.0 - begun)


def _progress(recipe: PretrainRecipe, state: State) -> float:
    """Return the plan's progress, from 0 to 1."""
    return recipe.plan.progress(state.step, state.tokens, state.seconds)
