"""Checks that the files of a Hugging Face folder agree, before anything is made of them."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family
from bertsmith.hub.heads import REGRESSION, problem_type
from bertsmith.hub.network import Network
from bertsmith.hub.registry import FAMILIES
from bertsmith.hub.tensors import FLOATS, Stored, read_tensors

_ROUNDING = defaultdict(lambda: 1e-5, {"BF16": 2**-8, "F16": 2**-10})
"""Relative differences that come of a type of numbers, by safetensors' name of it."""


def first_of(names: Collection[str]) -> str:
    """Return, for a message, one of them and how many more there are."""
    others = len(names) - 1
    return f"{min(names)}{f' and {others} more' if others else ''}"


def count_labels(bias: Stored, path: Path) -> int:
    if len(bias.shape) != 1 or not bias.shape[0]:
        raise UserError(
            f"{path}: the classifier's bias is {list(bias.shape)}, which no such tensor can be; fetch it again"
        )
    return bias.shape[0]


def with_labels(described: Network, num_labels: int, path: Path) -> Network:
    """Return the network with the labels that config.json names, else transformers' names for as many as the head has;
    a regression has none. Raises UserError where it names another number of them than the head has."""
    if described.labels and len(described.labels) != num_labels:
        raise UserError(
            f"{path / 'config.json'}: id2label names {len(described.labels)} classes, and the head has {num_labels}; "
            f"put the config.json that belongs to these weights beside them"
        )
    labels = described.labels or tuple(f"LABEL_{id}" for id in range(num_labels))
    if described.head != "classification":
        return replace(described, labels=labels)
    kind = problem_type(num_labels, described.problem_type)
    return replace(described, labels=() if kind == REGRESSION else labels, problem_type=kind)


def check_names(places: Mapping[str, str], wanted: set[str], path: Path) -> None:
    missing, unknown = sorted(wanted - places.keys()), sorted(places.keys() - wanted)
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


def check_shapes(
    stored: Mapping[str, Stored],
    places: Mapping[str, str],
    names: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, torch.Size],
    path: Path,
    unread: Mapping[str, int],
) -> None:
    """Check that the tensors in the files have the shapes of our modules, but for as many first rows as `unread`
    gives."""
    assert names.keys() == shapes.keys(), names.keys() ^ shapes.keys()
    for ours, group in names.items():
        rows, *columns = shapes[ours]
        for name in group:
            expected, tensor = [rows // len(group) + unread.get(name, 0), *columns], stored[places[name]]
            if list(tensor.shape) != expected or tensor.dtype not in FLOATS:
                raise UserError(
                    f"{path}: {name} is {tensor.dtype} {list(tensor.shape)} where config.json (its sizes) asks for "
                    f"floats {expected}; put the config.json that belongs to these weights beside them"
                )


def check_pooler(pooler: Mapping[str, Tensor], family: Family, settings: EncoderConfig, path: Path) -> None:
    size = settings.hidden_size
    for name, tensor in pooler.items():
        expected = [size, size] if tensor.dim() == 2 and name.endswith("weight") else [size]
        if list(tensor.shape) != expected:
            raise UserError(f"{path}: {family.pooler[name]} is {list(tensor.shape)}, where the layers are {size} wide")


def check_copies(
    tensors: Mapping[str, Tensor], copies: Mapping[str, str], family: Family, stored: Mapping[str, Stored], path: Path
) -> None:
    """Check that a tensor and its copy are the same."""
    for name, place in copies.items():
        original = tensors.get(family.tied_copies[name])
        if original is None or not torch.equal(read_tensors(stored, [place])[place], original):
            raise UserError(
                f"{path}: {name} is not {family.tied_copies[name]}; bertsmith's output layer is the token table itself"
            )


def check_buffers(places: Mapping[str, str], stored: Mapping[str, Stored], settings: EncoderConfig, path: Path) -> None:
    """Check that buffers, which are not trained and which no one reads, hold the numbers that the encoder computes.

    Args:
        places: the family's own name of each → the name in the file.
        stored: of all tensors in the folder's files.
        path: the folder.

    Raises:
        UserError: one does not, so that the model was trained as another than is read; it is named.
    """
    tensors = read_tensors(stored, places.values())
    for name, place in places.items():
        values = tensors[place].flatten()
        family = next(family for family in FAMILIES.values() if family.kind_of_buffer(name))
        expected, what = family.buffer(name, len(values), settings)
        if values.shape != expected.shape or not torch.allclose(values, expected, rtol=_ROUNDING[stored[place].dtype]):
            raise UserError(
                f"{path}: {quoted(place, 80)[1:-1]} is not {what}, as bertsmith and transformers compute it; the model "
                f"was made by other code, so save it with transformers' own class, or take the tensor out"
            )
