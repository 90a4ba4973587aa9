"""Initial weights, and modules without any."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def initialize(module: nn.Module, std: float) -> None:
    """Draw weights from a normal distribution cut at two standard deviations; biases are 0, norms 1 and 0.

    Source: google-research/electra, model/modeling.py, create_initializer.
    """
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules with shapes and without numbers: nothing is allocated or drawn."""
    with torch.device("meta"), _SkipInit():
        yield


class _SkipInit(TorchFunctionMode):
    """Skips the initial values of modules that are being built: on tensors without numbers they have no effect, and to
    find that out torch imports its compiler, which takes seconds."""

    _INIT = (
        "normal_", "uniform_", "trunc_normal_", "xavier_uniform_", "kaiming_uniform_", "erfinv_", "zeros_", "ones_",
    )  # fmt: skip

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor as it is where `function` would fill it."""
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in self._INIT:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
