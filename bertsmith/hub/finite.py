"""The one check that weights are numbers: no model with NaN or infinity is imported, asked, trained or exported."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.errors import UserError, quoted


def check_finite(tensors: Mapping[str, Tensor], where: Path | str) -> None:
    """Raise UserError where a tensor holds NaN or infinity; it names the first one, and how many of its numbers.

    Args:
        where: the source or target of the tensors, for messages.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            faults = int((~torch.isfinite(tensor)).sum())
            raise UserError(
                f"{where}: {quoted(name)[1:-1]} has {faults:,} of {tensor.numel():,} numbers that are NaN or infinite; "
                f"such weights answer nothing, so take them from an earlier checkpoint"
            )


def to_float32(name: str, tensor: Tensor, where: Path | str) -> Tensor:
    """Return a tensor of floats as float32. Raises UserError where a number of it is NaN or infinite, or too large for
    float32."""
    converted = tensor.to(torch.float32)
    if not torch.isfinite(converted).all():
        check_finite({name: tensor}, where)
        largest = tensor.abs().max().item()
        raise UserError(
            f"{where}: {quoted(name)[1:-1]} holds {largest:.3g}, which is infinite in float32; such weights answer "
            f"nothing, so take them from an earlier checkpoint"
        )
    return converted
