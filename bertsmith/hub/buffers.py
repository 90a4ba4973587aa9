"""Buffers in other people's files: tensors that were not learnt and that every model of the kind makes for itself. None
is read, so each must hold what is made.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.errors import UserError, quoted
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
        found = tensors[place].flatten()
        expected, what = _expected(name, len(found), settings)
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=_ROUNDING[stored[place].dtype]):
            raise UserError(
                f"{path}: {quoted(place, 80)[1:-1]} is not {what}, as bertsmith and transformers compute it; the model "
                f"was made by other code, so save it with transformers' own class, or take the tensor out"
            )


def _expected(name: str, size: int, settings: EncoderConfig) -> tuple[Tensor, str]:
    """The values of a buffer of `size` numbers, and what a message calls them."""
    if name.endswith("position_ids"):
        return torch.arange(size, dtype=torch.float32), "0, 1, 2, …"
    if name.endswith("token_type_ids"):
        return torch.zeros(size), "all 0"
    assert isinstance(settings, ModernBertConfig), name
    layer = re.search(r"layers\.(\d+)\.", name)
    everywhere = int(layer[1]) % settings.global_attn_every_n_layers == 0 if layer else "full_attention" in name
    theta = settings.global_rope_theta if everywhere else settings.local_rope_theta
    half = settings.head_size // 2
    key = "global_rope_theta" if everywhere else "local_rope_theta"
    return theta ** (torch.arange(half, dtype=torch.float32) / -half), f"that of {key} = {theta:g}"
