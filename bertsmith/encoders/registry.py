"""The encoders that there are, by their `kind`. A further one is a file with an `EncoderConfig`, and a line here."""

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.modernbert import ModernBertConfig

EncoderSettings = BertConfig | ModernBertConfig
"""What a recipe's table `model` may be."""

ENCODERS: dict[str, type[EncoderConfig]] = {config.kind: config for config in (BertConfig, ModernBertConfig)}

COMPILED = tuple(module for config in ENCODERS.values() for module in config.compiled)
"""Modules that are worth compiling, of all encoders."""
