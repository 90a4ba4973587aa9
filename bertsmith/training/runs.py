"""A pre-training run's folder, read: what `finetune`, `export` and the Python user start from."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bertsmith.config import check
from bertsmith.errors import UserError
from bertsmith.files import read_manifest
from bertsmith.training import checkpoints
from bertsmith.training.pretrain import PretrainRecipe


@dataclass(frozen=True)
class Pretrained:
    """The newest weights of a run and what they are."""

    path: Path
    recipe: PretrainRecipe
    manifest: dict[str, Any]
    weights: dict[str, Tensor]
    """Named "encoder.…" and "head.…"."""
    step: int

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]


def load_model(run: Path) -> Pretrained:
    """The newest undamaged checkpoint of a pre-training run.

    Raises:
        UserError: not such a folder, or no checkpoint in it.
    """
    manifest = read_manifest(run, "pretrain")
    try:
        recipe = check(PretrainRecipe, tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{run / 'recipe.toml'}: cannot be read ({error})") from None
    checkpoint = checkpoints.load_newest(run)
    if checkpoint is None:
        raise UserError(f"{run}: has no checkpoint yet; let `bertsmith pretrain` run until its first one")
    return Pretrained(run, recipe, manifest, checkpoint.model, checkpoint.state.step)
