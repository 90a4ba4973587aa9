"""A pre-training run's folder, read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bertsmith.config.loading import read_own_recipe
from bertsmith.encoders.initialization import shapes_only
from bertsmith.errors import UserError
from bertsmith.hub.finite import check_finite
from bertsmith.hub.network import Network
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import TrainedWeights
from bertsmith.storage.json_files import member
from bertsmith.storage.manifests import read_manifest
from bertsmith.training import checkpoints
from bertsmith.training.recipe import PretrainRecipe

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer


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

    def networks(self) -> list[Network]:
        """Return what Hugging Face would call models, the one that fine-tuning starts from first."""
        return [self._network(trained) for trained in self.recipe.objective.networks(self.recipe.model, self.weights)]

    def _network(self, trained: TrainedWeights) -> Network:
        settings, weights = trained.config.fold_projection(trained.weights)
        return Network(
            name=trained.name, family=settings.family(beside_generator=bool(trained.name)), settings=settings,
            vocab_size=self.vocab_size, head=trained.head, weights=weights, is_energy_head=trained.is_energy_head,
            trained_length=self.recipe.rows.length, folder=self.path,
        )  # fmt: skip


def load_run(run: Path) -> PretrainingRun:
    """Load the newest undamaged checkpoint of a pre-training run.

    Raises:
        UserError: not such a folder, no checkpoint in it, or weights that are not finite.
    """
    manifest = read_manifest(run, "pretrain")
    recipe = read_own_recipe(PretrainRecipe, run, "pretrain")
    vocab_size = member(manifest, "vocab_size", int, str(run / "manifest.json"))

    def check(loaded: checkpoints.Checkpoint) -> None:
        checkpoints.check_tensors(
            loaded.model, _expected(recipe, vocab_size, loaded), loaded.path / checkpoints.MODEL_FILE
        )

    checkpoint = checkpoints.load_newest(run, to_resume=False, check=check)
    if checkpoint is None:
        raise UserError(f"{run}: has no checkpoint yet; let `bertsmith pretrain` run until its first one")
    check_finite(checkpoint.model, checkpoint.path)
    return PretrainingRun(run, recipe, manifest, checkpoint.model, checkpoint.state.step)


def read_tokenizer(run: Path, manifest: dict[str, Any], vocab_size: int) -> "Tokenizer":
    """Return the tokenizer of a run of ours, which is the one that it was trained with.

    Raises:
        UserError: its files are missing or damaged, or another tokenizer's.
    """
    from bertsmith.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(run)
    known = manifest.get("tokenizer", tokenizer.fingerprint)  # manifests of version 0.1.0 do not say
    if tokenizer.fingerprint != known or tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"{run / 'tokenizer.json'}: damaged (not the tokenizer of manifest.json); run the command that wrote {run} "
            f"again, which writes it anew"
        )
    return tokenizer


def _expected(recipe: PretrainRecipe, vocab_size: int, checkpoint: checkpoints.Checkpoint) -> dict[str, Tensor]:
    """Return an empty tensor for each weight of the recipe's objective; not built where its sizes exceed the
    checkpoint's."""
    size = sum(tensor.numel() for tensor in checkpoint.model.values())
    if max(vocab_size, recipe.model.hidden_size) > size or recipe.model.num_hidden_layers > len(checkpoint.model):
        raise UserError(f"{checkpoint.path / checkpoints.MODEL_FILE}: damaged (smaller than the recipe's model)")
    with shapes_only():
        return recipe.objective.build(recipe.model, MaskingVocabulary(vocab_size)).state_dict()
