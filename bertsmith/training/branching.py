"""A branch of a run: from one of its checkpoints on, with its optimizer and place in the data, to a rate of zero.

The run itself goes on at a constant rate, and can be branched again later.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import defaults, identity
from bertsmith.errors import UserError
from bertsmith.storage.files import sha256_json
from bertsmith.storage.folders import as_written_now, checkpoint_folders, differences
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.training import checkpoints
from bertsmith.training.checkpoints import Checkpoint
from bertsmith.training.loop import State
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import ScheduleSettings, WarmupStableDecaySettings

OWN = ("plan.", "schedule.")
"""Settings that a branch may have otherwise than its run."""


class Branch(NamedTuple):
    """The beginning of a branch: a checkpoint of another run."""

    fingerprint: str
    """Hash of the checkpoint's files, part of the branch's identity."""
    begun: float
    """How far the run was there, in the plan's unit."""
    checkpoint: Checkpoint | None = None
    """None once the branch has checkpoints of its own: the run may have removed this one by then."""


def open_branch(recipe: PretrainRecipe, data: dict[str, Any], run: Path, overwrite: bool) -> Branch | None:
    """Read the checkpoint that `recipe.branch` names, as RUN@STEP; None where it names none. A branch in the folder
    `run` that has begun needs it no more. `data` is the data's part of the identity.

    Raises:
        UserError: it names no step; there is no such run or checkpoint, or it is damaged; the run's settings, those of
            plan and schedule apart, or its data are others; the plan ends before that step.
    """
    if recipe.branch is None:
        return None
    if not overwrite and checkpoint_folders(run) and (run / "manifest.json").is_file():
        noted = read_manifest(run, "pretrain").get("branch", {})
        if noted.get("of") == recipe.branch:
            return Branch(noted["fingerprint"], noted["begun"])
    name, _, step = recipe.branch.rpartition("@")
    if not name or not step.isdecimal():
        raise UserError(f"branch = {recipe.branch}: names no step; write RUN@STEP, as in branch=runs/stable@20000")
    parent = Path(name)
    try:
        manifest = read_manifest(parent, "pretrain")
    except UserError as error:
        raise UserError(f"branch = {recipe.branch}: {error}") from None
    own = identity(recipe) | data
    before = as_written_now(manifest.get("identity", {}), own, defaults(recipe))
    shared = [{key: value for key, value in side.items() if not key.startswith(OWN)} for side in (before, own)]
    if changed := differences(*shared):
        raise UserError(
            f"branch = {recipe.branch}: not the settings of that run ({changed[0]}); a branch has its own plan and "
            f"schedule, and nothing else"
        )
    folders = checkpoint_folders(parent)
    if int(step) not in folders:
        there = f"it has those of {', '.join(map(str, folders))}; name one of them" if folders else "it has none"
        raise UserError(
            f"branch = {recipe.branch}: that run has no checkpoint of this step, {there} (plan.keep_checkpoints=0 "
            f"keeps all of a run)"
        )
    checkpoint = checkpoints.read(folders[int(step)])
    state = checkpoint.state
    begun = recipe.plan.done(state.step, state.tokens, state.seconds)
    if begun >= recipe.plan.total:
        raise UserError(
            f"branch = {recipe.branch}: the plan, {recipe.plan.total:,} {recipe.plan.unit}, is done by then; lengthen "
            f"plan.{recipe.plan.unit}, or branch off earlier"
        )
    files = read_manifest(checkpoint.path, "checkpoint")["files"]
    return Branch(sha256_json(files), begun, checkpoint)


def begin_branch(run: Path, recipe: PretrainRecipe, branch: Branch, check: Callable[[State], None]) -> Checkpoint:
    """Note in the manifest of `run` where it branches off, and return the checkpoint to go on from; `check` raises
    UserError for a state that it cannot have been in."""
    assert branch.checkpoint is not None, "a run with checkpoints has begun"
    check(branch.checkpoint.state)
    noted = {"of": recipe.branch, "fingerprint": branch.fingerprint, "begun": branch.begun}
    write_manifest(run, "pretrain", read_manifest(run, "pretrain") | {"branch": noted})
    return branch.checkpoint


def decaying_from(recipe: PretrainRecipe, branch: Branch) -> ScheduleSettings:
    """Return the recipe's schedule as one that falls from the branch's beginning to the plan's end."""
    assert isinstance(recipe.schedule, WarmupStableDecaySettings), "as the recipe's check says"
    begun = branch.begun / recipe.plan.total
    warmup = min(recipe.schedule.warmup_proportion, begun)
    return replace(recipe.schedule, warmup_proportion=warmup, decay_proportion=1.0 - begun)
