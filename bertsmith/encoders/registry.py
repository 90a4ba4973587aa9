"""The encoders by their `kind`: each file of this folder that defines an `EncoderConfig` is found."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated

from torch import nn

from bertsmith import encoders
from bertsmith.config.registry import Kinds
from bertsmith.encoders.config import EncoderConfig


def _configs() -> Iterator[type[EncoderConfig]]:
    """Yield the settings class of each architecture."""
    for file in pkgutil.iter_modules(encoders.__path__, f"{encoders.__name__}."):
        classes = vars(import_module(file.name)).values() if file.name != __name__ else ()
        for cls in filter(inspect.isclass, classes):
            if issubclass(cls, EncoderConfig) and cls.__module__ == file.name and not inspect.isabstract(cls):
                yield cls


ENCODERS = Kinds("encoder", _configs())

EncoderSettings = Annotated[EncoderConfig, ENCODERS]
"""What a recipe's table `model` may be."""


def compiled_modules() -> tuple[type[nn.Module], ...]:
    """Return the modules that are worth compiling, of all encoders."""
    return tuple(module for config in ENCODERS.values() for module in config.compiled)  # type: ignore[attr-defined]
