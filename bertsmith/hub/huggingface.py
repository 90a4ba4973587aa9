"""A trained model → a folder that Hugging Face transformers loads without us, and such a folder → our weights.

Weights are read and written as safetensors only.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.initialization import shapes_only
from bertsmith.encoders.networks import MaskedTokenModel, ReplacedTokenModel
from bertsmith.errors import UserError
from bertsmith.hub.buffers import check_buffers
from bertsmith.hub.configuration import describe, read_config
from bertsmith.hub.finite import check_finite
from bertsmith.hub.folder_checks import (
    check_copies,
    check_names,
    check_pooler,
    check_shapes,
    count_labels,
    labels_of,
)
from bertsmith.hub.layout import named, unwrapped, with_tied
from bertsmith.hub.names import LABELLED, Head
from bertsmith.hub.network import Imported
from bertsmith.hub.onnx import write_onnx
from bertsmith.hub.registry import CLASSES, COPIES, FAMILIES, kind_of_buffer, kind_of_dropped
from bertsmith.hub.replaceable import FILES, WEIGHTS, check_replaceable
from bertsmith.hub.sentence import SentenceModules
from bertsmith.hub.tensors import Stored, find_tensors, read_tensors, serialized
from bertsmith.storage.files import atomic_folder, atomic_write, write_text
from bertsmith.storage.json_files import read_json, write_json
from bertsmith.tokenizers.tokenizer import Tokenizer

MAX_CONFIG_BYTES = 64 << 20
"""Of config.json: the largest name some hundred thousand classes."""

OWN_KEYS = ("trained_length", "energies", "learnt", "measured")
"""Keys of config.json that transformers does not know."""


def write_folder(
    out: Path,
    *,
    family: str,
    settings: EncoderConfig,
    vocab_size: int,
    head: Head | None,
    weights: dict[str, Tensor],
    tokenizer_folder: Path,
    labels: list[str] | None,
    card: str,
    trained_length: int | None,
    is_energy_head: bool = False,
    pooler: Mapping[str, Tensor] = MappingProxyType({}),
    opset: int | None = None,
    multi_label: bool = False,
    finetuned_on: Sequence[str] = (),
    measured: Mapping[str, Any] | None = None,
    modules: SentenceModules | None = None,
) -> float | None:
    """Write the folder `out`, whole or not at all: config.json, model.safetensors, tokenizer files, README.md.

    An `out` that was written here before is replaced.

    Args:
        family: whose classes are to load it; BERT's know no projection and no replaced tokens.
        head: MaskedTokenHead, ReplacedTokenHead, or the family's for classes, tags or answers; None: a bare encoder.
        weights: of the encoder and the head, "encoder.…" and "head.…".
        tokenizer_folder: where `Tokenizer.save` wrote.
        labels: names of the classes, of which a single one makes it a regression, or of the tags; else None.
        card: the text of README.md.
        trained_length: longest row seen in pre-training, in tokens, which is kept in config.json: transformers will cut
            longer texts. None: the longest that the model can hold.
        pooler, is_energy_head, multi_label, finetuned_on, measured: as of `Imported`; config.json keeps the last four.
        opset: of a model.onnx beside them, one of `onnx.OPSETS`; None: no such file.
        modules: what sentence-transformers is to do with the encoder's vectors.

    Returns:
        How far the ONNX file's logits are from ours, at most.

    Raises:
        UserError: the head is the plain one of compat; `out` holds what was not written here, or cannot be written;
            `write_onnx` refuses the model.
    """
    if head == "classification" and "head.dense.weight" not in weights:
        raise UserError(
            f"{out}: compat's plain classification head has no Hugging Face class; fine-tune without compat to export"
        )
    out = out.resolve()  # "." has no name to put a temporary one beside
    check_replaceable(out)
    tokenizer = Tokenizer.load(tokenizer_folder)
    assert tokenizer.vocab_size <= vocab_size
    config = describe(family, settings, head, labels, multi_label) | FAMILIES[family].token_ids(tokenizer)
    own = zip(OWN_KEYS, (trained_length, is_energy_head, list(finetuned_on), measured), strict=True)
    config |= {"vocab_size": vocab_size} | {key: value for key, value in own if value}
    tensors = _to_theirs(weights, FAMILIES[family].names(settings, head)) | _pooler_to_theirs(pooler, family)
    check_finite(tensors, out)
    with atomic_folder(out, FILES) as folder:
        write_json(folder / "config.json", config)
        with atomic_write(folder / WEIGHTS) as file:  # `save_file` would hide a full disk from it
            file.writelines(serialized(tensors))
        tokenizer.save(folder)
        _tell_tokenizer(folder / "tokenizer_config.json", family, trained_length or settings.max_position_embeddings)
        write_text(folder / "README.md", card)
        if modules is not None:
            modules.write(folder)
        if opset is None:
            return None
        model = _with_weights(_empty_model(family, settings, vocab_size, head, len(labels or ())), weights)
        return write_onnx(folder / "model.onnx", model, head, FAMILIES[family].inputs, opset)


def _with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    numbers = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in weights.items()}
    model.load_state_dict(numbers, assign=True)
    return model.eval()


def read_folder(path: Path) -> Imported:
    """Read a folder of `write_folder`, or of Hugging Face's save_pretrained for a BERT or ELECTRA model.

    What its files do not say is concluded from the tensors' names and shapes, and said in `concluded`. Nothing is built
    before config.json and the shapes agree.

    Raises:
        UserError: a file is missing or damaged; the weights are a pickle; config.json has a class or a value that our
            encoder does not know; a tensor is missing, unknown, not finite, or of another shape than config.json says.
    """
    config = _read_config_file(path / "config.json")
    stored = find_tensors(path, _class_of(config))
    plain, wrapped = unwrapped(stored, str(path))
    described = read_config(path / "config.json", config, {short: stored[name].shape for name, short in plain.items()})
    family, head = FAMILIES[described.family], described.head
    settings, vocab_size = described.settings, described.vocab_size
    theirs, _ = with_tied(named(plain, family, str(path)), family)
    names = family.names(settings, head)
    wanted = {name for group in names.values() for name in group}
    copies = {name: theirs.pop(name) for name in COPIES.keys() & theirs.keys()}
    dropped = [name for name in theirs if kind_of_dropped(name) and name not in wanted]
    check_buffers({name: theirs[name] for name in dropped if kind_of_buffer(name)}, stored, settings, path)
    for name in dropped:
        del theirs[name]
    pooler_names = {ours: name for ours, name in family.pooler.items() if name in theirs and head != "classification"}
    if pooler_names:
        wanted |= set(family.pooler.values())
    check_names(theirs, wanted, path)
    num_labels = count_labels(stored[theirs[names["head.output.bias"][0]]], path) if head in LABELLED else None
    shapes = shapes_of(family.name, settings, vocab_size, head, num_labels)
    check_shapes(stored, theirs, names, shapes, path)
    tensors = _read(stored, theirs, wanted)
    check_copies(tensors, copies, stored, path)
    pooler = {ours: tensors[name] for ours, name in pooler_names.items()}
    check_pooler(pooler, family, settings, path)
    weights = {ours: torch.cat([tensors[name] for name in group]) for ours, group in names.items()}
    return Imported(
        family=family.name,
        settings=settings,
        head=head,
        weights=weights,
        pooler=pooler,
        is_energy_head=described.is_energy_head,
        labels=labels_of(described, num_labels, path),
        multi_label=described.multi_label,
        dropped=tuple(sorted(dropped)),
        vocab_size=vocab_size,
        folder=path,
        num_labels=num_labels,
        trained_length=described.trained_length,
        finetuned_on=described.finetuned_on,
        measured=described.measured,
        concluded=(*wrapped, *described.concluded),
    )


def _read_config_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a folder that `bertsmith export` or save_pretrained wrote")
    return read_json(path, dict, MAX_CONFIG_BYTES)


def _class_of(config: dict[str, Any]) -> str:
    """The class of transformers that a message about a pickle names."""
    found = config.get("architectures")
    return found[0] if isinstance(found, list) and found and found[0] in list(CLASSES) else "AutoModel"


def _read(stored: Mapping[str, Stored], theirs: Mapping[str, str], wanted: Iterable[str]) -> dict[str, Tensor]:
    """The wanted tensors by the family's names."""
    tensors = read_tensors(stored, [theirs[name] for name in wanted])
    return {name: tensors[theirs[name]] for name in wanted}


def _pooler_to_theirs(pooler: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    return {FAMILIES[family].pooler[name]: tensor.contiguous() for name, tensor in pooler.items()}


def _to_theirs(weights: Mapping[str, Tensor], names: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    assert weights.keys() == names.keys(), weights.keys() ^ names.keys()
    tensors: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        parts = weights[ours].detach().to("cpu", torch.float32).chunk(len(theirs))
        tensors |= {name: part.contiguous() for name, part in zip(theirs, parts, strict=True)}
    return tensors


def _tell_tokenizer(path: Path, family: str, length: int) -> None:
    """What the model takes, and where to cut: without that a long text ends in an index error of transformers'."""
    config = read_json(path, dict)
    write_json(path, config | {"model_max_length": length, "model_input_names": list(FAMILIES[family].inputs)})


def shapes_of(
    family: str, settings: EncoderConfig, vocab_size: int, head: Head | None, num_labels: int | None
) -> dict[str, torch.Size]:
    """Name → shape of what our modules need."""
    model = _empty_model(family, settings, vocab_size, head, num_labels)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _empty_model(
    family: str, settings: EncoderConfig, vocab_size: int, head: Head | None, num_labels: int | None
) -> nn.Module:
    """Our module without its numbers: nothing is allocated or drawn."""
    with shapes_only():
        if head == "masked_tokens":
            return MaskedTokenModel(settings, vocab_size)
        if head == "replaced_tokens":
            return ReplacedTokenModel(settings, vocab_size)
        modules: dict[str, nn.Module] = {"encoder": Encoder(settings, vocab_size)}
        if head == "answering":
            modules["head"] = settings.answer_head()
        if head in LABELLED:
            modules["head"] = (
                settings.classification_head(num_labels, family)
                if head == "classification"
                else settings.tagging_head(num_labels)
            )
        return nn.ModuleDict(modules)
