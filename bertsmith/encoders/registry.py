"""The encoders by their `kind`: each file of this folder that defines an `EncoderConfig` is found."""

from typing import Annotated

from torch import nn

from bertsmith import encoders
from bertsmith.config.registry import Kinds, classes_in
from bertsmith.encoders.config import EncoderConfig

ENCODERS = Kinds("encoder", classes_in(encoders, EncoderConfig))

EncoderSettings = Annotated[EncoderConfig, ENCODERS]
"""The type of a recipe's table `model`."""


def compiled_modules() -> tuple[type[nn.Module], ...]:
    """Return the modules that are worth compiling, of all encoders."""
    return tuple(module for config in ENCODERS.values() for module in config.compiled)  # type: ignore[attr-defined]
