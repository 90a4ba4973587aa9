"""Bytes that a forward pass keeps for the backward pass: most of the memory of a training step."""

from typing import NamedTuple

from bertsmith.encoders.config import BertConfig, EncoderSettings, ModernBertConfig


class Precision(NamedTuple):
    """Where and in what a forward pass runs; compiled, it keeps less than is counted here."""

    half: bool
    """Matrix products in 16 bits, all else in 32 (autocast)."""
    cuda: bool
    """Attention keeps no weights; on the CPU it does where there is dropout on them."""

    @property
    def size(self) -> int:
        """Bytes of an operand of a matrix product."""
        return 2 if self.half else 4


def encoder_bytes_per_token(settings: EncoderSettings, length: int, precision: Precision) -> float:
    """For one token of a row of `length` tokens."""
    if isinstance(settings, ModernBertConfig):
        return _modern_bytes_per_token(settings, length, precision)
    size = settings.embedding
    embeddings = 4 * size + _mask(size, settings.hidden_dropout_prob)
    projection = precision.size * size if size != settings.hidden_size else 0
    layer = _attention(settings, length, precision) + _feed_forward(settings, precision)
    return embeddings + projection + settings.num_hidden_layers * layer


def masked_token_head_bytes(settings: EncoderSettings, precision: Precision) -> float:
    """For one predicted position: inputs of both products, of GELU and of the norm; the scores are not kept."""
    if isinstance(settings, ModernBertConfig):
        projected = precision.size * settings.embedding if settings.embedding != settings.hidden_size else 0
        return _modern_head_bytes(settings, precision) + projected
    return precision.size * (settings.hidden_size + settings.embedding) + 2 * 4 * settings.embedding


def replaced_token_head_bytes(settings: EncoderSettings, precision: Precision) -> float:
    """For one token: inputs of both products and of GELU."""
    if isinstance(settings, ModernBertConfig):
        return _modern_head_bytes(settings, precision)
    return precision.size * 3 * settings.hidden_size


def _modern_bytes_per_token(settings: ModernBertConfig, length: int, precision: Precision) -> float:
    hidden, layers = settings.hidden_size, settings.num_hidden_layers
    projection = precision.size * settings.embedding if settings.embedding != hidden else 0
    norms = 4 * hidden * (2 * layers + 1)  # the first layer's input is normalised already
    prob = settings.attention_dropout
    weights = (precision.size + 1) * settings.heads * length if prob and not precision.cuda else 4 * settings.heads
    attention = precision.size * 5 * hidden + weights + _mask(hidden, prob)
    # Inputs of both products and of GELU, and both factors of the gate.
    products = precision.size * (hidden + 4 * settings.feed_forward)
    feed_forward = products + _mask(settings.feed_forward, settings.mlp_dropout)
    return projection + _mask(hidden, settings.embedding_dropout) + norms + layers * (attention + feed_forward)


def _modern_head_bytes(settings: ModernBertConfig, precision: Precision) -> float:
    """For one position: inputs of both products and of GELU, and of the norm."""
    return precision.size * 3 * settings.hidden_size + 4 * settings.hidden_size


def _attention(settings: BertConfig, length: int, precision: Precision) -> float:
    """Inputs of both products, queries, keys, values; what dropout left; the norm's input."""
    hidden, prob = settings.hidden_size, settings.attention_probs_dropout_prob
    weights = (precision.size + 1) * settings.heads * length if prob and not precision.cuda else 4 * settings.heads
    return precision.size * 5 * hidden + weights + _mask(hidden, settings.hidden_dropout_prob) + 4 * hidden


def _feed_forward(settings: BertConfig, precision: Precision) -> float:
    """Inputs of both products and of GELU; what dropout left; the norm's input."""
    hidden = settings.hidden_size
    products = precision.size * (hidden + 2 * settings.feed_forward)
    return products + _mask(hidden, settings.hidden_dropout_prob) + 4 * hidden


def _mask(size: int, prob: float) -> int:
    return size if prob else 0
