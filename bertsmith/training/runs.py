"""A pre-training run's folder, read."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from bertsmith.config import check
from bertsmith.errors import UserError
from bertsmith.interop.configuration import family_of
from bertsmith.interop.finite import check_finite
from bertsmith.interop.names import Head
from bertsmith.interop.network import Network
from bertsmith.manifests import read_manifest
from bertsmith.model.config import ClassicSettings, EncoderSettings
from bertsmith.model.encoder import fold_projection
from bertsmith.objectives.rtd import discriminator_weights, generator_weights
from bertsmith.training import checkpoints
from bertsmith.training.recipe import PretrainRecipe

PARTS = ("discriminator", "generator")
"""Names of the networks of a model that has two, and of their folders."""


@dataclass(frozen=True)
class PretrainingRun:
    """The newest weights of a run and what they are."""

    path: Path
    recipe: PretrainRecipe
    manifest: dict[str, Any]
    weights: dict[str, Tensor]
    """As the objective names them."""
    step: int

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def networks(self) -> list[Network]:
        """What Hugging Face would call models, the one that fine-tuning starts from first."""
        settings, objective = self.recipe.model, self.recipe.objective
        if objective.generator is None:
            return [_network("", settings, objective.head, self.weights)]
        found = discriminator_weights(self.weights, objective)
        networks = [replace(_network(PARTS[0], settings, objective.head, found), energies=objective.energies)]
        if found := generator_weights(self.weights):
            networks.append(_network(PARTS[1], objective.generator.encoder(settings), "masked_tokens", found))
        return networks


def _network(name: str, settings: EncoderSettings, head: Head, weights: dict[str, Tensor]) -> Network:
    settings, weights = fold_projection(settings, weights)
    family = "electra" if name and isinstance(settings, ClassicSettings) else family_of(settings)
    return Network(name=name, family=family, settings=settings, head=head, weights=weights)


def load_run(run: Path) -> PretrainingRun:
    """The newest undamaged checkpoint of a pre-training run.

    Raises:
        UserError: not such a folder, no checkpoint in it, or weights that are not finite.
    """
    manifest = read_manifest(run, "pretrain")
    try:
        recipe = check(PretrainRecipe, tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{run / 'recipe.toml'}: cannot be read ({error})") from None
    checkpoint = checkpoints.load_newest(run, to_resume=False)
    if checkpoint is None:
        raise UserError(f"{run}: has no checkpoint yet; let `bertsmith pretrain` run until its first one")
    check_finite(checkpoint.model, checkpoint.path)
    return PretrainingRun(run, recipe, manifest, checkpoint.model, checkpoint.state.step)
