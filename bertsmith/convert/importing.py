"""Somebody's pre-trained model → a Hugging Face folder as `bertsmith export` writes it, or two for an ELECTRA with its
generator. Every tensor is accounted for: those that are dropped are listed.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from bertsmith import __version__
from bertsmith.config.fields import setting, settings
from bertsmith.errors import UserError
from bertsmith.hub.card import CardSettings, imported_card
from bertsmith.hub.heads import HEADS
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.hub.sentence import SentenceModules, encoder_folder, read_modules
from bertsmith.hub.tensorflow import find_checkpoint, read_checkpoint
from bertsmith.objectives.rtd import NETWORKS
from bertsmith.storage.folders import no_empty_folder
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.models import Model, check_place, refuse_hub_name, shared_tokenizer


@settings
class ImportSettings:
    """The settings of `bertsmith import`."""

    generator: str | None = setting(None, "the generator's Hugging Face folder, where the model's is a discriminator")
    vocab: str | None = setting(
        None, "of a TensorFlow checkpoint: vocab.txt, tokenizer.json or a folder; by default what lies beside it"
    )
    lowercase: bool | None = setting(
        None,
        "whether text is lower-cased; by default as the vocabulary's files say, else if no word of it has a capital",
    )
    strip_accents: bool | None = setting(
        None, "whether accents are taken off; by default as the files say, else if text is lower-cased"
    )
    heads: int | None = setting(
        None, "attention heads of a TensorFlow checkpoint without a config; by default hidden size / 64", ge=1
    )
    card: CardSettings = setting(CardSettings(), "for the model card")


@no_empty_folder
def import_model(path: Path, out: Path, settings: ImportSettings) -> list[str]:
    """Write the model at `path` to `out`, and return lines that describe it and what was dropped.

    Args:
        path: a Hugging Face folder, one of sentence-transformers whatever folder in it has the encoder, or a TensorFlow
            checkpoint: its prefix, or a folder with one.
        out: a folder as `bertsmith.training.models.open_model` opens.
        settings: see there.

    Raises:
        UserError: `path` is neither, or does not agree with itself; `out` is `path`, holds another model or what is not
            ours to replace, or cannot be written.
    """
    is_huggingface = any(path.glob("model.safetensors*"))  # such a folder may hold TensorFlow's files besides
    prefix = None if is_huggingface else find_checkpoint(path)
    encoder = _with_config(path)
    modules, left_out = None, None
    if prefix is not None:
        model = _from_tensorflow(prefix, settings)
    elif encoder is not None:
        model = _from_huggingface(encoder, settings)
        modules, left_out = read_modules(path, encoder, model.network.settings)
        modules = modules and modules.cut_at(model.network.trained_length)
    elif (path / NETWORKS[0] / "config.json").is_file():
        raise UserError(
            f"{path}: two models, which other verbs open as they are; to bring them in again name {path / NETWORKS[0]} "
            f"and generator={path / NETWORKS[1]}"
        )
    else:
        refuse_hub_name(path)
        raise UserError(
            f"{path}: no model; name a Hugging Face folder (config.json), or a TensorFlow checkpoint's prefix or "
            f"folder (PREFIX.index, PREFIX.data-…)"
        )
    sources = [Path(source).resolve() for source in (path, encoder, settings.generator) if source is not None]
    if any((out / network.name).resolve() in sources for network in model.networks):
        raise UserError(f"{out}: there lies what is to be brought in; name another folder to write to")
    check_place(out, [network.name for network in model.networks])
    for network in model.networks:
        its_modules = modules if network is model.network else None
        card = _card(network, path.name, settings.card, its_modules)
        write_folder(out / network.name, network, model.tokenizer, card=card, modules=its_modules)
    lines = _describe(model)
    if modules is not None:
        lines.append(f"carried over: sentence-transformers' files: {modules.description}")
    if left_out is not None:
        lines.append(f"left out: sentence-transformers' files: {left_out}")
    return lines


def _with_config(path: Path) -> Path | None:
    """Return the folder in `path`, mostly itself, that has an encoder's config.json."""
    if (path / "config.json").is_file():
        return path
    encoder = encoder_folder(path)
    return encoder if encoder is not None and (encoder / "config.json").is_file() else None


def _from_tensorflow(prefix: Path, settings: ImportSettings) -> Model:
    if settings.generator is not None:
        raise UserError(f"generator = {settings.generator}: {prefix} is a TensorFlow checkpoint, which holds its own")
    networks = read_checkpoint(prefix, settings.heads)
    if settings.vocab is None and not any((prefix.parent / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise UserError(f"{prefix.parent}: no vocab.txt beside the checkpoint; say where it is: vocab=PATH")
    place = Path(settings.vocab) if settings.vocab is not None else prefix.parent
    tokenizer = Tokenizer.load(place, lowercase=settings.lowercase, strip_accents=settings.strip_accents)
    rows = networks[0].vocab_size
    if tokenizer.vocab_size != rows:
        raise UserError(
            f"{place}: {tokenizer.vocab_size:,} tokens where {prefix.name} has {rows:,}; "
            f"vocab=PATH names the one that it was trained with"
        )
    return Model(prefix, networks, tokenizer)


def _from_huggingface(path: Path, settings: ImportSettings) -> Model:
    for key in ("vocab", "heads"):
        if getattr(settings, key) is not None:
            raise UserError(f"{key} = {getattr(settings, key)}: {path} is a Hugging Face folder, which says it itself")
    first = read_folder(path)
    casing = {"lowercase": settings.lowercase, "strip_accents": settings.strip_accents}
    if not HEADS[first.head].is_pretrained:
        raise UserError(f"{path}: a fine-tuned model; name the model that it was fine-tuned from")
    if settings.generator is None:
        return Model(path, [first], shared_tokenizer([first], **casing))
    second = read_folder(Path(settings.generator))
    if first.head != "replaced_tokens" and (first.family, first.head) != ("electra", None):
        raise UserError(f"{path}: no discriminator of an ELECTRA, so it has no generator; leave generator=… out")
    if second.family != first.family or second.head != "masked_tokens":
        raise UserError(
            f"generator = {settings.generator}: no masked-token model of the same kind as {path}; name the "
            f"generator's folder"
        )
    networks = [replace(network, name=name) for name, network in zip(NETWORKS, (first, second), strict=True)]
    return Model(path, networks, shared_tokenizer(networks, **casing))


def _card(network: Network, source: str, settings: CardSettings, modules: SentenceModules | None) -> str:
    about = (
        f"Converted from `{source}` by `bertsmith import` {__version__}: {HEADS[network.head].title}, "
        f"{network.settings.num_hidden_layers} layers of {network.settings.hidden_size}."
    )
    return imported_card(source, about, network.head, settings, modules.description if modules else None)


def _describe(model: Model) -> list[str]:
    lines, tokenizer = [], model.tokenizer
    for network in model.networks:
        settings = network.settings
        heads = [HEADS[network.head].title] + ["pooler"] * bool(network.pooler)
        lines.append(
            f"{network.name or network.family}: {settings.num_hidden_layers} layers of {settings.hidden_size}, "
            f"attention heads of {settings.head_size}, embeddings of {settings.embedding}, {', '.join(heads)}"
        )
    unused = model.vocab_size - tokenizer.vocab_size
    padded = f"; {unused:,} row{'s' * (unused > 1)} of the token table belong to no token" if unused else ""
    lines.append(f"vocabulary: {tokenizer.vocab_size:,} tokens, {tokenizer.casing}{padded}")
    lines += tokenizer.notes()
    lines += [
        f"concluded: {f'{network.name}: ' if network.name else ''}{line}"
        for network in model.networks
        for line in network.concluded
    ]
    kinds = {name: kind for network in model.networks for name, kind in network.dropped.items()}
    dropped = Counter(kinds.values())
    lines.append(f"dropped: {', '.join(f'{what} ({count})' for what, count in sorted(dropped.items())) or 'nothing'}")
    return lines
