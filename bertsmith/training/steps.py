"""Weights of a run at any step that it has kept: of each checkpoint, and those that it began with.

No checkpoint has the latter. They follow from the recipe: its seed, or the model of `init`. The manifest has their
hash, so that they are these or are not given: another version of torch may draw others.
"""

import torch
from torch import Tensor

from bertsmith.errors import UserError
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.training import checkpoints
from bertsmith.training.folder import INITIAL
from bertsmith.training.initial import open_init_weights, set_weights
from bertsmith.training.models import Model, PretrainingRun, fingerprint, read_tokenizer, weights_of_checkpoint
from bertsmith.training.pretrain import initial_objective


def kept_steps(run: PretrainingRun) -> list[int]:
    """Return the steps whose weights a run has or can make again, 0 among them unless it began as another's branch."""
    first = [] if run.recipe.branch is not None else [0]
    return [*first, *checkpoint_folders(run.path)]


def model_at_step(newest: Model, step: int) -> Model:
    """Return what `open_model` would have opened after this step, one of `kept_steps`.

    Args:
        newest: as `open_model` opens the run now.

    Raises:
        UserError: the checkpoint is damaged; the first weights cannot be made again.
    """
    run = newest.run
    assert run is not None
    if step == 0:
        weights = first_weights(run)
    else:
        checkpoint = checkpoints.read(checkpoint_folders(run.path)[step], to_resume=False)
        weights = weights_of_checkpoint(run.recipe, run.vocab_size, checkpoint)
    earlier = PretrainingRun(run.path, run.recipe, run.manifest, weights, step)
    return Model(run.path, earlier.networks(), newest.tokenizer, earlier)


def first_weights(run: PretrainingRun) -> dict[str, Tensor]:
    """Return the weights that a run began with, by the objective's names.

    Raises:
        UserError: the run does not say which they were; the recipe makes others here; the model of `init` is not there.
    """
    known = run.manifest.get(INITIAL)
    where = f"{run.path}, step 0"
    if known is None:
        raise UserError(f"{where}: written by a version that did not note the hash of the weights that it began with")
    tokenizer = read_tokenizer(run.path, run.manifest, run.vocab_size)
    objective = initial_objective(run.recipe, tokenizer)
    if run.recipe.init is not None:
        set_weights(objective, open_init_weights(run.recipe, tokenizer, run.path))
    weights = objective.state_dict()
    if fingerprint(tokenizer, weights) != known:
        began = run.manifest["environment"].get("torch", "another")
        raise UserError(
            f"{where}: its recipe makes other weights here, with torch {torch.__version__}, than it began with (it was "
            f"last trained with torch {began}), or the model of init has changed"
        )
    return weights
