"""Opening a pre-trained model: a run of ours, or a folder by Hugging Face's save_pretrained, `bertsmith export` or
`bertsmith import`."""

import functools
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bertsmith.config.loading import read_own_recipe
from bertsmith.console.shell import quote
from bertsmith.console.terminal import say
from bertsmith.encoders.initialization import shapes_only
from bertsmith.errors import UserError
from bertsmith.hub.finite import check_finite
from bertsmith.hub.network import Network
from bertsmith.hub.registry import FAMILIES
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.rtd import NETWORKS
from bertsmith.storage.json_files import member
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.training import checkpoints
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import progress_of

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.hub.sentence import SentenceModules
    from bertsmith.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class PretrainingRun:
    """The newest weights of a run and what they are."""

    path: Path
    recipe: PretrainRecipe
    manifest: dict[str, Any]
    weights: dict[str, Tensor]
    """Weights by the objective's names."""
    step: int

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    def networks(self) -> list[Network]:
        """Return what Hugging Face would call models, the one that fine-tuning starts from first."""
        networks = []
        for trained in self.recipe.objective.networks(self.recipe.model, self.weights):
            settings, weights = trained.config.fold_projection(trained.weights)
            networks.append(Network(
                name=trained.name, family=settings.family(of_electra=bool(trained.name)), settings=settings,
                vocab_size=self.vocab_size, head=trained.head, weights=weights, folder=self.path,
                is_energy_head=trained.is_energy_head, is_disentangled=trained.is_disentangled,
                trained_length=self.recipe.rows.length,
            ))  # fmt: skip
        return networks


def load_run(run: Path) -> PretrainingRun:
    """Load the newest undamaged checkpoint of a pre-training run.

    Raises:
        UserError: not such a folder, no checkpoint in it, or weights that are not finite.
    """
    manifest = read_manifest(run, "pretrain")
    recipe = read_own_recipe(PretrainRecipe, run, "pretrain")
    vocab_size = member(manifest, "vocab_size", int, str(run / "manifest.json"))

    def check(loaded: checkpoints.Checkpoint) -> None:
        _check_weights(recipe, vocab_size, loaded)

    checkpoint = checkpoints.load_newest(run, to_resume=False, check=check)
    if checkpoint is None:
        raise UserError(f"{run}: has no checkpoint yet; let `bertsmith pretrain` run until its first one")
    weights = checkpoint.model.read_all()
    check_finite(weights, checkpoint.path)
    return PretrainingRun(run, recipe, manifest, weights, checkpoint.state.step)


def weights_of_checkpoint(
    recipe: PretrainRecipe, vocab_size: int, checkpoint: checkpoints.Checkpoint
) -> dict[str, Tensor]:
    """Return the weights in a checkpoint of the recipe's run. Raises UserError where they are not those of its
    objective, or not finite."""
    _check_weights(recipe, vocab_size, checkpoint)
    weights = checkpoint.model.read_all()
    check_finite(weights, checkpoint.path)
    return weights


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


def _check_weights(recipe: PretrainRecipe, vocab_size: int, checkpoint: checkpoints.Checkpoint) -> None:
    """Raise UserError where a checkpoint's tensors are not those of the recipe's objective, which is not built where
    its sizes exceed the checkpoint's."""
    where, shapes = checkpoint.path / checkpoints.MODEL_FILE, checkpoint.model.shapes
    size = sum(tensor.numel() for tensor in shapes.values())
    if max(vocab_size, recipe.model.hidden_size) > size or recipe.model.num_hidden_layers > len(shapes):
        raise UserError(f"{where}: damaged (smaller than the recipe's model)")
    with shapes_only():
        expected = recipe.objective.build(recipe.model, MaskingVocabulary(vocab_size)).state_dict()
    checkpoints.check_tensors(shapes, expected, where)


@dataclass(frozen=True)
class Model:
    """Trained networks, their tokenizer and their origin."""

    path: Path
    networks: list[Network]
    """The one that fine-tuning starts from first."""
    tokenizer: "Tokenizer"
    run: PretrainingRun | None = None
    """The run, where the path is one."""

    @property
    def network(self) -> Network:
        """The network that fine-tuning starts from."""
        return self.networks[0]

    @property
    def vocab_size(self) -> int:
        return self.network.vocab_size

    @property
    def length(self) -> int:
        """Longest row for this model in tokens, [CLS] and [SEP] included: position vectors beyond those it was trained
        on are still random."""
        return self.network.trained_length or self.network.settings.max_position_embeddings


def open_model(path: Path) -> Model:
    """Open the newest checkpoint of a pre-training run; a Hugging Face folder; or a folder with two of them, a
    discriminator and its generator.

    Raises:
        UserError: it is none of these, or it is damaged.
    """
    if (path / "config.json").is_file():
        return _from_folders(path, {"": path})
    if (path / NETWORKS[0] / "config.json").is_file():
        return _from_folders(path, {name: path / name for name in NETWORKS if (path / name / "config.json").is_file()})
    if (path / "manifest.json").is_file():
        return _from_run(path)
    if (path / "modules.json").is_file():
        raise UserError(
            f"{path}: no config.json beside modules.json, by which sentence-transformers keeps its encoder in a folder "
            f"of its own; name that one, or bring all of it in: `bertsmith import {quote(path)} OUT`"
        )
    refuse_hub_name(path)
    raise UserError(f"{path}: no model; name a pre-training run (manifest.json) or a Hugging Face folder (config.json)")


def sentence_modules(model: Model) -> "tuple[SentenceModules | None, str | None]":
    """Return what sentence-transformers does with the vectors of the model's encoder, by files beside it or by what a
    run has kept of those that it began with; without them None, and why they are of no use if there are any.

    Raises:
        UserError: they are damaged, or do not fit the encoder.
    """
    from bertsmith.hub.sentence import KEPT, kept_modules, read_modules

    network = model.network
    if model.run is not None:
        where = str(model.path / "manifest.json")
        return kept_modules(model.run.manifest.get(KEPT), network.settings, where), None
    return read_modules(network.folder, network.folder, network.settings)


def refuse_hub_name(path: Path) -> None:
    """Raise UserError where `path` is not there; where it looks like a model's name on Hugging Face's hub, the message
    says how to get that, since nothing is fetched by itself."""
    if path.exists():
        return
    name = str(path)
    if folder_type(path.parent) == "glue" and (of_task := path.parent / "tasks" / path.name).is_dir():
        raise UserError(f"{name}: no such folder; the GLUE run in {path.parent} has it in {of_task}")
    of_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name)
    if of_hub and (path.parent == Path() or not path.parent.exists()):
        raise UserError(
            f"{name}: no such folder; if it is a model on Hugging Face's hub, fetch it first:\n"
            f"hf download {name} --local-dir models/{path.name}"
        )
    raise UserError(f"{name}: no such folder; a model is a run (manifest.json) or a Hugging Face folder (config.json)")


def check_place(out: Path, names: Collection[str]) -> None:
    """Make sure that networks of these names, of `NETWORKS` or the empty one, can be written to `out`, where
    `open_model` will find them and no others.

    Raises:
        UserError: an earlier model, or anything else, would stay beside them; or what they would replace was not
            written by us.
    """
    from bertsmith.hub.replaceable import check_replaceable

    for name in ("", *NETWORKS):
        other = out / name / "config.json"
        if name not in names and other.exists():
            raise UserError(f"{out}: holds another model ({other}), which would stay there; name another folder")
    if "" not in names and out.is_dir():
        foreign = sorted(path.name for path in out.iterdir() if path.name not in NETWORKS and path.name[0] != ".")
        if foreign:
            raise UserError(f"{out}: holds {foreign[0]}, which is no part of a model; name another folder")
    for name in names:
        check_replaceable(out / name)


def shared_tokenizer(
    networks: Sequence[Network], lowercase: bool | None = None, strip_accents: bool | None = None
) -> "Tokenizer":
    """Return the first network's tokenizer, if all networks use its ids; warn where it has fewer tokens than the
    network has vectors.

    Args:
        lowercase, strip_accents: as of `Tokenizer.load`.

    Raises:
        UserError: it has more tokens than the network has vectors; another network has vectors for more or fewer, or a
            vocabulary of its own beside it that differs.
    """
    from bertsmith.tokenizers.tokenizer import Tokenizer
    from bertsmith.tokenizers.tokenizer_folder import VOCABULARY_FILES

    first, *others = networks
    tokenizer = Tokenizer.load(first.folder, lowercase=lowercase, strip_accents=strip_accents)
    if tokenizer.vocab_size > first.vocab_size:
        raise UserError(
            f"{first.folder}: its tokenizer knows {tokenizer.vocab_size:,} tokens, its model (vocab_size) "
            f"{first.vocab_size:,}; put the tokenizer's files beside it that it was trained with"
        )
    if warning := FAMILIES[first.family].padding_warning(first.folder, tokenizer):
        say_once(warning)
    if unused := first.vocab_size - tokenizer.vocab_size:
        cause = "if it was not padded, its tokenizer's files are another model's"
        if (first.folder / "vocab.txt").is_file() and not (first.folder / "tokenizer.json").is_file():
            cause = (  # ids are the numbers of lines
                "but where a line was taken out of vocab.txt, each token after it has another one's row; put "
                "[unused9999] in its place"
            )
        say_once(
            f"warning: {first.folder}: its token table has {unused:,} more row{'s' * (unused > 1)} than there are "
            f"tokens: padding does that; {cause}"
        )
    for other in others:
        if other.vocab_size != first.vocab_size:
            raise UserError(
                f"{other.folder}: a vocabulary of {other.vocab_size:,} where {first.folder} has {first.vocab_size:,} "
                f"(vocab_size); take the two that were trained beside each other"
            )
        if not any((other.folder / name).is_file() for name in VOCABULARY_FILES):
            continue
        other_tokenizer = Tokenizer.load(other.folder, lowercase=lowercase, strip_accents=strip_accents)
        if other_tokenizer.fingerprint != tokenizer.fingerprint:
            raise UserError(
                f"{other.folder}: other tokens than those of {first.folder}; take the two that were trained beside "
                f"each other"
            )
    return tokenizer


def fingerprint(tokenizer: "Tokenizer", weights: Mapping[str, Tensor]) -> str:
    """Return the hex sha256 of names and values of the weights, and of the tokenizer's fingerprint."""
    digest = hashlib.sha256(tokenizer.fingerprint.encode())
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _from_run(path: Path) -> Model:
    if folder_type(path) == "finetune":  # whatever else is wrong with it, `load_run` says
        raise UserError(f"{path}: a fine-tuning run; `bertsmith export` it and name that folder instead")
    run = load_run(path)
    if not run.manifest["finished"]:
        step = progress_of(run.recipe.plan, run.step)
        say_once(f"{path}: unfinished, at {step}; its weights are taken as they are")
    tokenizer = read_tokenizer(path, run.manifest, run.vocab_size)
    return Model(path, run.networks(), tokenizer, run)


@functools.cache
def say_once(line: str) -> None:
    """Say a line about a model on standard error, once in a process."""
    say(line, error=True)  # a command may open a model several times, as each task of a benchmark does


def _from_folders(path: Path, folders: dict[str, Path]) -> Model:
    from bertsmith.hub.huggingface import read_folder

    networks = [replace(read_folder(folder), name=name) for name, folder in folders.items()]
    for network in networks:
        for line in network.concluded:
            say(f"{network.folder}: {line}", error=True)
    tokenizer = shared_tokenizer(networks)
    if tokenizer.template_note:
        say(tokenizer.template_note, error=True)
    return Model(path, networks, tokenizer)
