"""A trained model → a folder that Hugging Face transformers loads without us, and such a folder → our weights.

Weights are read and written as safetensors only.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bertsmith.errors import UserError, quoted
from bertsmith.hub.configuration import describe, read_config
from bertsmith.hub.family import Family
from bertsmith.hub.finite import check_finite
from bertsmith.hub.folder_checks import (
    check_buffers,
    check_copies,
    check_names,
    check_pooler,
    check_shapes,
    count_labels,
    with_labels,
)
from bertsmith.hub.heads import HEADS
from bertsmith.hub.layout import named, unwrapped, with_tied
from bertsmith.hub.network import Network
from bertsmith.hub.onnx import write_onnx
from bertsmith.hub.registry import CLASSES, FAMILIES, kind_of_buffer, kind_of_dropped
from bertsmith.hub.replaceable import EXPORTED_FILES, WEIGHTS, check_replaceable
from bertsmith.hub.sentence import SentenceModules
from bertsmith.hub.tensors import find_tensors, read_tensors, serialized
from bertsmith.storage.files import atomic_folder, atomic_write, make_folder, write_text
from bertsmith.storage.json_files import read_json, write_json
from bertsmith.tokenizers.tokenizer import Tokenizer

MAX_CONFIG_BYTES = 64 << 20
"""Of config.json: the largest name some hundred thousand classes."""


def write_folder(
    out: Path,
    network: Network,
    tokenizer: Tokenizer,
    *,
    card: str,
    opset: int | None = None,
    modules: SentenceModules | None = None,
) -> float | None:
    """Write the folder `out`: config.json, model.safetensors, tokenizer files, README.md.

    An `out` that was written here before is replaced.

    Args:
        network: its family's classes are to load it; BERT's know no projection and no replaced tokens. Longer texts
            than its `trained_length` will be cut by transformers.
        card: the text of README.md; the mask is [MASK] in it, and becomes the tokenizer's.
        opset: of a model.onnx beside them, one of `onnx.OPSETS`; None: no such file.
        modules: what sentence-transformers is to do with the encoder's vectors.

    Returns:
        How far the ONNX file's logits are from ours, at most.

    Raises:
        UserError: the head is the plain one of compat, or has an enhanced mask decoder; `out` holds what was not
            written here, or cannot be written; `write_onnx` refuses the model.
    """
    family, head, weights = FAMILIES[network.family], network.head, network.weights
    if head == "classification" and "head.dense.weight" not in weights:
        raise UserError(
            f"{out}: compat's plain classification head has no Hugging Face class; fine-tune without compat to export"
        )
    if type(network.settings) is not family.config:
        raise UserError(
            f"{out}: no Hugging Face class computes what model.kind = {quoted(network.settings.kind, 60)} does; such "
            f"a model is used as a run of bertsmith"
        )
    if network.decodes_masks:
        raise UserError(
            f"{out}: no Hugging Face class fills masks by an enhanced mask decoder; write the encoder alone"
        )
    out = out.resolve()  # "." has no name to put a temporary one beside
    make_folder(out.parent)
    check_replaceable(out)
    assert tokenizer.vocab_size <= network.vocab_size
    tensors = _to_family(weights, family.names(network.settings, head))
    tensors |= {family.pooler[name]: tensor.contiguous() for name, tensor in network.pooler.items()}
    config = describe(network, tokenizer)
    for name, rows in _unread_rows(family, config).items():  # as transformers begins padding's
        tensors[name] = torch.cat([tensors[name].new_zeros(rows, tensors[name].shape[1]), tensors[name]])
    check_finite(tensors, out)
    with atomic_folder(out, EXPORTED_FILES) as folder:
        write_json(folder / "config.json", config)
        with atomic_write(folder / WEIGHTS) as file:  # `save_file` would hide a full disk from it
            file.writelines(serialized(tensors))
        names = family.inputs_of(network.settings)
        tokenizer.save(folder, has_segments="token_type_ids" in names)
        length = network.trained_length or network.settings.max_position_embeddings
        # Without a length, transformers fails on a long text with an index error.
        inputs = {"model_max_length": length, "model_input_names": list(names)}
        tokenizer_config = folder / "tokenizer_config.json"
        write_json(tokenizer_config, read_json(tokenizer_config, dict) | inputs)
        write_text(folder / "README.md", card.replace("[MASK]", tokenizer.mask_token))
        if modules is not None:
            modules.write(folder)
        if opset is None:
            return None
        return write_onnx(folder / "model.onnx", network.build(), head, names, opset)


def read_folder(path: Path) -> Network:
    """Read a folder of `write_folder`, or of Hugging Face's save_pretrained for a model of one of `FAMILIES`.

    Facts that its files lack are concluded from the tensors' names and shapes, and listed in `concluded`. Nothing is
    built before config.json and the shapes agree.

    Raises:
        UserError: a file is missing or damaged; the weights are a pickle; config.json has a class or a value that our
            encoder does not know; a tensor is missing, unknown, not finite, or of another shape than config.json says.
    """
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path / 'config.json'}: no such file; name a folder that `bertsmith export` or save_pretrained wrote"
        )
    config = read_json(path / "config.json", dict, MAX_CONFIG_BYTES)
    stored = find_tensors(path, _class_of(config))
    plain, wrapped = unwrapped(stored, str(path))
    described = read_config(path / "config.json", config, {short: stored[name].shape for name, short in plain.items()})
    family, head = FAMILIES[described.family], described.head
    settings = described.settings
    places, _ = with_tied(named(plain, family, str(path)), family)
    names = family.names(settings, head)
    wanted = {name for group in names.values() for name in group}
    copies = {name: places.pop(name) for name in family.tied_copies.keys() & places.keys()}
    titles = {name: kind_of_dropped(name, family) for name in places if name not in wanted}
    dropped = [name for name, title in titles.items() if title]
    check_buffers({name: places[name] for name in dropped if kind_of_buffer(name)}, stored, settings, path)
    for name in dropped:
        del places[name]
    pooler_names = {ours: name for ours, name in family.pooler.items() if name in places and head != "classification"}
    if pooler_names:
        wanted |= set(family.pooler.values())
    check_names(places, wanted, path)
    num_labels = None
    if HEADS[head].has_labels:
        num_labels = count_labels(stored[places[names["head.output.bias"][0]]], path)
        described = with_labels(described, num_labels, path)
    shapes = {name: tensor.shape for name, tensor in described.outline(num_labels).state_dict().items()}
    unread = _unread_rows(family, config)
    check_shapes(stored, places, names, shapes, path, unread)
    by_place = read_tensors(stored, [places[name] for name in wanted])
    tensors = {name: by_place[places[name]][unread.get(name, 0) :] for name in wanted}
    check_copies(tensors, copies, family, stored, path)
    pooler = {ours: tensors[name] for ours, name in pooler_names.items()}
    check_pooler(pooler, family, settings, path)
    weights = {ours: torch.cat([tensors[name] for name in group]) for ours, group in names.items()}
    return replace(
        described,
        weights=weights,
        pooler=pooler,
        dropped={name: str(titles[name]) for name in sorted(dropped)},
        concluded=(*wrapped, *described.concluded),
    )


def _unread_rows(family: Family, config: Mapping[str, Any]) -> dict[str, int]:
    """Return the names of tensors whose first rows are not read → how many."""
    return {family.position_table: family.unread_positions(config)} if family.position_table else {}


def _class_of(config: dict[str, Any]) -> str:
    """Return the class of transformers that a message about a pickle names."""
    classes = config.get("architectures")
    return classes[0] if isinstance(classes, list) and classes and classes[0] in list(CLASSES) else "AutoModel"


def _to_family(weights: Mapping[str, Tensor], names: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    assert weights.keys() == names.keys(), weights.keys() ^ names.keys()
    tensors: dict[str, Tensor] = {}
    for ours, group in names.items():
        parts = weights[ours].detach().to("cpu", torch.float32).chunk(len(group))
        tensors |= {name: part.contiguous() for name, part in zip(group, parts, strict=True)}
    return tensors
