"""What ranks must agree on before they train one run together: its batches, and the checkpoint that it goes on from."""

import socket
import time
from pathlib import Path

from bertsmith.errors import UserError, quoted
from bertsmith.objectives.masking import MaskingObjectiveSettings
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.training import checkpoints
from bertsmith.training.checkpoints import Checkpoint
from bertsmith.training.ranks import Ranks
from bertsmith.training.recipe import PretrainRecipe

NONE = -1.0

FOLDER_SECONDS = 40.0
"""How long a rank looks for what the first has written: NFS may show a machine names that are half a minute old."""


def check_ranks(recipe: PretrainRecipe, ranks: Ranks) -> None:
    """Raise UserError where the batches of a recipe, or with `machine.shard` its weights, cannot be dealt to the ranks,
    or would not be the same on each."""
    if recipe.machine.shard:
        _check_sharding(recipe, ranks)
    if ranks.size == 1:
        return
    check_batch_sizes(recipe, ranks.size)
    if recipe.plan.hours is not None and _masks_change(recipe):
        raise UserError(
            "objective.masking.final_prob: in a plan of hours masks would follow each rank's own clock; plan in tokens "
            "or steps, or leave it out"
        )


def check_batch_sizes(recipe: PretrainRecipe, num_ranks: int) -> None:
    """Raise UserError where the rows of a batch are no multiple of the number of ranks."""
    for stage in recipe.all_stages:
        if stage.batch_size % num_ranks:
            nearest = -(-stage.batch_size // num_ranks) * num_ranks
            raise UserError(
                f"batch_size = {stage.batch_size}: cannot be dealt evenly to {num_ranks} ranks; give a multiple, such "
                f"as {nearest}"
            )


def _check_sharding(recipe: PretrainRecipe, ranks: Ranks) -> None:
    if ranks.size == 1:
        raise UserError(
            "machine.shard = true: there is one process, which has nobody to share its weights with; start several by "
            "torchrun --nproc-per-node N -m bertsmith pretrain …, or leave it out"
        )
    if not recipe.optimizer.moves_rows:
        raise UserError(
            f"optimizer.kind = {quoted(recipe.optimizer.kind)}: looks at more than a weight's rows by themselves, and "
            f"machine.shard deals these to ranks; use adamw or muon, or leave machine.shard out"
        )


def _masks_change(recipe: PretrainRecipe) -> bool:
    objective = recipe.objective
    if not isinstance(objective, MaskingObjectiveSettings):
        return False
    return objective.masking.final_prob not in (None, objective.masking.prob)


def checkpoint_of_first(
    run: Path, found: Checkpoint | None, branch: Checkpoint | None, ranks: Ranks
) -> Checkpoint | None:
    """Return on every rank the checkpoint that the first has `found`, None where it has found none.

    Args:
        run: the folder, which all ranks share.
        found: on the first rank, the newest of the run, or `branch`.
        branch: the checkpoint that the run branches off from, if it does.

    Raises:
        UserError: this rank does not see the folder, or the checkpoint is damaged.
    """
    if ranks.size == 1:
        return found
    is_branch = found is not None and found is branch
    step, branches = ranks.of_first(NONE if found is None else found.state.step), ranks.of_first(is_branch)
    if ranks.is_first:
        return found
    if branches:
        return branch
    if not _sees(run, step):
        raise UserError(
            f"{run}: rank 0 has opened it, and {socket.gethostname()} does not see it; --out must be in a folder that "
            f"all machines share"
        )
    return None if step == NONE else checkpoints.read(checkpoint_folders(run)[int(step)], verify=False)


def _sees(run: Path, step: float) -> bool:
    """Return whether this machine has the first rank's folder, with the checkpoint of that step."""
    until = time.monotonic() + FOLDER_SECONDS
    while not ((run / "manifest.json").is_file() and (step == NONE or step in checkpoint_folders(run))):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True
