"""Bytes that a forward pass keeps for the backward pass: most of the memory of a training step."""

from typing import NamedTuple

from bertsmith.encoders.config import ClassicSettings, EncoderSettings, ModernSettings


class Format(NamedTuple):
    """Where and in what a forward pass runs; compiled, it keeps less than is counted here."""

    half: bool
    """Matrix products in 16 bits, all else in 32 (autocast)."""
    cuda: bool
    """Attention keeps no weights; on the CPU it does where there is dropout on them."""

    @property
    def size(self) -> int:
        """Bytes of an operand of a matrix product."""
        return 2 if self.half else 4


def encoder_bytes_per_token(settings: EncoderSettings, length: int, form: Format) -> float:
    """For one token of a row of `length` tokens."""
    if isinstance(settings, ModernSettings):
        return _modern_bytes_per_token(settings, length, form)
    size = settings.embedding
    embeddings = 4 * size + _mask(size, settings.hidden_dropout_prob)
    projection = form.size * size if size != settings.hidden_size else 0
    layer = _attention(settings, length, form) + _feed_forward(settings, form)
    return embeddings + projection + settings.num_hidden_layers * layer


def masked_token_head_bytes(settings: EncoderSettings, form: Format) -> float:
    """For one predicted position: inputs of both products, of GELU and of the norm; the scores are not kept."""
    if isinstance(settings, ModernSettings):
        projected = form.size * settings.embedding if settings.embedding != settings.hidden_size else 0
        return _modern_head_bytes(settings, form) + projected
    return form.size * (settings.hidden_size + settings.embedding) + 2 * 4 * settings.embedding


def replaced_token_head_bytes(settings: EncoderSettings, form: Format) -> float:
    """For one token: inputs of both products and of GELU."""
    if isinstance(settings, ModernSettings):
        return _modern_head_bytes(settings, form)
    return form.size * 3 * settings.hidden_size


def _modern_bytes_per_token(settings: ModernSettings, length: int, form: Format) -> float:
    hidden, layers = settings.hidden_size, settings.num_hidden_layers
    projection = form.size * settings.embedding if settings.embedding != hidden else 0
    norms = 4 * hidden * (2 * layers + 1)  # the first layer's input is normalised already
    prob = settings.attention_dropout
    weights = (form.size + 1) * settings.heads * length if prob and not form.cuda else 4 * settings.heads
    attention = form.size * 5 * hidden + weights + _mask(hidden, prob)
    # Inputs of both products and of GELU, and both factors of the gate.
    feed_forward = form.size * (hidden + 4 * settings.feed_forward) + _mask(settings.feed_forward, settings.mlp_dropout)
    return projection + _mask(hidden, settings.embedding_dropout) + norms + layers * (attention + feed_forward)


def _modern_head_bytes(settings: ModernSettings, form: Format) -> float:
    """For one position: inputs of both products and of GELU, and of the norm."""
    return form.size * 3 * settings.hidden_size + 4 * settings.hidden_size


def _attention(settings: ClassicSettings, length: int, form: Format) -> float:
    """Inputs of both products, queries, keys, values; what dropout left; the norm's input."""
    hidden, prob = settings.hidden_size, settings.attention_probs_dropout_prob
    weights = (form.size + 1) * settings.heads * length if prob and not form.cuda else 4 * settings.heads
    return form.size * 5 * hidden + weights + _mask(hidden, settings.hidden_dropout_prob) + 4 * hidden


def _feed_forward(settings: ClassicSettings, form: Format) -> float:
    """Inputs of both products and of GELU; what dropout left; the norm's input."""
    hidden = settings.hidden_size
    products = form.size * (hidden + 2 * settings.feed_forward)
    return products + _mask(hidden, settings.hidden_dropout_prob) + 4 * hidden


def _mask(size: int, prob: float) -> int:
    return size if prob else 0
