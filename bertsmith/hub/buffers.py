"""Buffers in other people's files: tensors that were not learnt and that every model of the kind makes for itself. None
is read, so each must hold what is made.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch

from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.registry import FAMILIES
from bertsmith.hub.tensors import Stored, read_tensors

_ROUNDING = defaultdict(lambda: 1e-5, {"BF16": 2**-8, "F16": 2**-10})
"""Relative differences that come of a type of numbers, by safetensors' name of it."""


def check_buffers(places: Mapping[str, str], stored: Mapping[str, Stored], settings: EncoderConfig, path: Path) -> None:
    """Make sure that buffers hold what the encoder computes.

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
