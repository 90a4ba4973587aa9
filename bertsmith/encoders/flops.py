"""Floating-point operations, counted as multiply-adds of matrix products times two."""

from bertsmith.encoders.config import EncoderSettings, ModernBertConfig


def encoder_flops_per_token(settings: EncoderSettings, length: int) -> float:
    """Forward, for one token of a row of `length` tokens: dense layers and attention scores; nothing else matters.
    Of local attention its window counts."""
    hidden = settings.hidden_size
    if isinstance(settings, ModernBertConfig):
        dense = 4 * hidden * hidden + 3 * hidden * settings.feed_forward
        window = min(length, settings.local_attention + 1)
        seen = sum(length if settings.is_global(layer) else window for layer in range(settings.num_hidden_layers))
    else:
        dense = 4 * hidden * hidden + 2 * hidden * settings.feed_forward
        seen = settings.num_hidden_layers * length
    attention = 2 * seen * hidden  # scores, and the mixing of values
    return 2.0 * (settings.num_hidden_layers * dense + attention + _projection(settings))


def masked_token_head_flops(settings: EncoderSettings, vocab_size: int) -> float:
    """Forward, for one predicted position."""
    hidden, embedding = settings.hidden_size, settings.embedding
    modern = isinstance(settings, ModernBertConfig)
    dense = hidden * hidden + _projection(settings) if modern else hidden * embedding
    return 2.0 * (dense + embedding * vocab_size)


def replaced_token_head_flops(settings: EncoderSettings) -> float:
    """Forward, for one token."""
    return 2.0 * settings.hidden_size * (settings.hidden_size + 1)


def training_flops(forward: float) -> float:
    """The backward pass costs two forward ones."""
    return 3.0 * forward


def _projection(settings: EncoderSettings) -> int:
    return settings.embedding * settings.hidden_size if settings.embedding != settings.hidden_size else 0
