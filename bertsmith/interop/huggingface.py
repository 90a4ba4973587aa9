"""A trained model → a folder that Hugging Face transformers loads without us, and such a folder → our weights.

Weights are read and written as safetensors only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import safetensors.torch
import torch
from torch import Tensor, nn

from bertsmith.errors import UserError
from bertsmith.files import atomic_folder, atomic_write, write_text
from bertsmith.interop.configuration import Described, describe, read_config
from bertsmith.interop.names import (
    COPIES,
    INPUTS,
    LABELLED,
    POOLER,
    Family,
    Head,
    canonical,
    first_of,
    their_names,
    what_is_dropped,
)
from bertsmith.interop.network import Imported
from bertsmith.interop.onnx import write_onnx
from bertsmith.interop.replaceable import SIGNED, WEIGHTS, check_replaceable
from bertsmith.interop.tensors import read_tensors
from bertsmith.json_files import write_json
from bertsmith.model.answer_heads import plain_answer_head
from bertsmith.model.config import EncoderSettings
from bertsmith.model.encoder import Encoder
from bertsmith.model.heads import CLASSIFICATION_HEADS, TAGGING_HEADS
from bertsmith.model.networks import MaskedTokenModel, ReplacedTokenModel
from bertsmith.text.tokenizer import Tokenizer


def write_folder(
    out: Path,
    *,
    family: Family,
    settings: EncoderSettings,
    vocab_size: int,
    head: Head | None,
    weights: dict[str, Tensor],
    tokenizer_folder: Path,
    labels: list[str] | None,
    card: str,
    trained_length: int | None,
    energies: bool = False,
    pooler: Mapping[str, Tensor] = MappingProxyType({}),
    opset: int | None = None,
    multi_label: bool = False,
    learnt: Sequence[str] = (),
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
        energies: what the logits of a ReplacedTokenHead are, which is kept in config.json.
        pooler: as `Imported.pooler`.
        opset: of a model.onnx beside them, one of `onnx.OPSETS`; None: no such file.
        multi_label: whether a text may have any number of the classes; as `Imported.multi_label`.
        learnt: the tasks that it was fine-tuned on, which are kept in config.json.

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
    config = describe(family, settings, head, labels, multi_label) | _ids(family, tokenizer)
    own = {"trained_length": trained_length, "energies": energies, "learnt": list(learnt)}
    config |= {"vocab_size": vocab_size} | {key: value for key, value in own.items() if value}
    tensors = _to_theirs(weights, their_names(family, settings, head))
    tensors |= {POOLER[name]: tensor.contiguous() for name, tensor in pooler.items()}
    with atomic_folder(out) as folder:
        write_json(folder / "config.json", config)
        with atomic_write(folder / WEIGHTS) as file:  # `save_file` would hide a full disk from it
            file.write(safetensors.torch.save(tensors, metadata=SIGNED))
        tokenizer.save(folder)
        _tell_tokenizer(folder / "tokenizer_config.json", family, trained_length or settings.max_position_embeddings)
        write_text(folder / "README.md", card)
        if opset is None:
            return None
        model = _empty_model(family, settings, vocab_size, head, len(labels or ()))
        numbers = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in weights.items()}
        model.load_state_dict(numbers, assign=True)
        return write_onnx(folder / "model.onnx", model.eval(), head, INPUTS[family], opset)


def _ids(family: Family, tokenizer: Tokenizer) -> dict[str, int]:
    """Those of special tokens that the family's config.json names; ModernBERT's defaults are of another vocabulary."""
    ids = {"pad_token_id": tokenizer.pad_id}
    if family == "modernbert":
        ids |= {f"{name}_token_id": tokenizer.cls_id for name in ("cls", "bos")}
        ids |= {f"{name}_token_id": tokenizer.sep_id for name in ("sep", "eos")}
    return ids


def read_folder(path: Path) -> Imported:
    """Read a folder of `write_folder`, or of Hugging Face's save_pretrained for a BERT or ELECTRA model.

    Raises:
        UserError: a file is missing or damaged; the weights are a pickle; config.json has a class or a value that our
            encoder does not know; a tensor is missing, unknown, or of another shape than config.json says.
    """
    described = read_config(path / "config.json")
    family, head, settings, vocab_size = described.family, described.head, described.settings, described.vocab_size
    read = read_tensors(path, described.architecture)
    theirs = {canonical(name, family): tensor for name, tensor in read.items()}
    _drop_copies(theirs, path)
    names = their_names(family, settings, head)
    wanted = {name for group in names.values() for name in group}
    dropped = [name for name in theirs if what_is_dropped(name) and name not in wanted]
    for name in dropped:
        del theirs[name]
    pooler = {}
    if head != "classification":
        pooler = {ours: theirs.pop(name).float() for ours, name in POOLER.items() if name in theirs}
    _check_names(theirs, wanted, path)
    num_labels = len(theirs[names["head.output.bias"][0]]) if head in LABELLED else None
    weights = _to_ours(theirs, names, shapes_of(family, settings, vocab_size, head, num_labels), path)
    return Imported(
        family=family,
        settings=settings,
        head=head,
        weights=weights,
        pooler=pooler,
        energies=described.energies,
        labels=_labels(described, num_labels),
        multi_label=described.multi_label,
        dropped=tuple(sorted(dropped)),
        vocab_size=vocab_size,
        folder=path,
        num_labels=num_labels,
        trained_length=described.trained_length,
        learnt=described.learnt,
    )


def _labels(described: Described, num_labels: int | None) -> tuple[str, ...]:
    """Those that config.json names; else transformers' names for as many as the head has."""
    if num_labels is None or (num_labels == 1 and described.head == "classification" and not described.multi_label):
        return ()
    return described.labels if len(described.labels) == num_labels else tuple(f"LABEL_{id}" for id in range(num_labels))


def _to_theirs(weights: dict[str, Tensor], names: dict[str, tuple[str, ...]]) -> dict[str, Tensor]:
    assert weights.keys() == names.keys(), weights.keys() ^ names.keys()
    tensors = {}
    for ours, theirs in names.items():
        parts = weights[ours].detach().to("cpu", torch.float32).chunk(len(theirs))
        tensors |= {name: part.contiguous() for name, part in zip(theirs, parts, strict=True)}
    return tensors


def _to_ours(
    theirs: dict[str, Tensor], names: dict[str, tuple[str, ...]], shapes: dict[str, torch.Size], path: Path
) -> dict[str, Tensor]:
    assert names.keys() == shapes.keys(), names.keys() ^ shapes.keys()
    weights = {}
    for ours, group in names.items():
        rows, *columns = shapes[ours]
        for name in group:
            expected, found = [rows // len(group), *columns], list(theirs[name].shape)
            if found != expected or not theirs[name].is_floating_point():
                by_token = ours.endswith("embeddings.token.weight") and found[1:] == expected[1:]
                key = "its vocab_size" if by_token else "its sizes"
                raise UserError(
                    f"{path}: {name} is {theirs[name].dtype} {found} where config.json ({key}) asks for floats "
                    f"{expected}; put the config.json that belongs to these weights beside them"
                )
        weights[ours] = torch.cat([theirs[name].float() for name in group])
    return weights


def _tell_tokenizer(path: Path, family: Family, length: int) -> None:
    """What the model takes, and where to cut: without that a long text ends in an index error of transformers'."""
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, config | {"model_max_length": length, "model_input_names": list(INPUTS[family])})


def _drop_copies(theirs: dict[str, Tensor], path: Path) -> None:
    for name in COPIES.keys() & theirs.keys():
        copy, original = theirs.pop(name), theirs.get(COPIES[name])
        if original is None or not torch.equal(copy, original):
            raise UserError(f"{path}: {name} is not {COPIES[name]}; bertsmith's output layer is the token table itself")


def _check_names(theirs: dict[str, Tensor], wanted: set[str], path: Path) -> None:
    missing, unknown = sorted(wanted - theirs.keys()), sorted(theirs.keys() - wanted)
    if missing:
        raise UserError(
            f"{path}: no {first_of(missing)}, which config.json asks for; put the config.json that belongs to these "
            f"weights beside them, or all of the weights"
        )
    if unknown:
        raise UserError(
            f"{path}: {first_of(unknown)}: not of the class that config.json names; "
            f"load the folder with transformers and save the class you want"
        )


def shapes_of(
    family: Family, settings: EncoderSettings, vocab_size: int, head: Head | None, num_labels: int | None
) -> dict[str, torch.Size]:
    """Name → shape of what our modules need."""
    model = _empty_model(family, settings, vocab_size, head, num_labels)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _empty_model(
    family: Family, settings: EncoderSettings, vocab_size: int, head: Head | None, num_labels: int | None
) -> nn.Module:
    """Our module without its numbers: nothing is allocated or drawn."""
    with torch.device("meta"):
        if head == "masked_tokens":
            return MaskedTokenModel(settings, vocab_size)
        if head == "replaced_tokens":
            return ReplacedTokenModel(settings, vocab_size)
        modules: dict[str, nn.Module] = {"encoder": Encoder(settings, vocab_size)}
        if head == "answering":
            modules["head"] = plain_answer_head(settings, family)
        if head in LABELLED:
            heads = CLASSIFICATION_HEADS if head == "classification" else TAGGING_HEADS
            modules["head"] = heads[family](settings, num_labels)
        return nn.ModuleDict(modules)
