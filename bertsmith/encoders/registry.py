"""The encoders that there are, by their `kind`. A further one is a file with an `EncoderConfig`, and its name here."""

from collections.abc import Iterable
from typing import Annotated, Any

from torch import nn

from bertsmith.config.registry import Kinds
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.modernbert import ModernBertConfig

ENCODERS = Kinds("encoder", (BertConfig, ModernBertConfig))

EncoderSettings = Annotated[EncoderConfig, ENCODERS]
"""What a recipe's table `model` may be."""


def compiled_modules() -> tuple[type[nn.Module], ...]:
    """Return the modules that are worth compiling, of all encoders."""
    configs: Iterable[Any] = ENCODERS.values()
    return tuple(module for config in configs for module in config.compiled)
