"""Costs of any encoder: floating-point operations, and the bytes that a forward pass keeps for the backward pass, which
are most of the memory of a training step."""

from typing import NamedTuple


class Precision(NamedTuple):
    """The device and the number type of a forward pass; compiled, it keeps less than is counted here."""

    half: bool
    """Matrix products in 16 bits, all else in 32 (autocast)."""
    cuda: bool
    """Attention keeps no weights; on the CPU it does where there is dropout on them."""

    @property
    def size(self) -> int:
        """Bytes of an operand of a matrix product."""
        return 2 if self.half else 4


def training_flops(forward: float) -> float:
    """Return the operations of a training step: the backward pass costs two forward ones."""
    return 3.0 * forward


def dropout_bytes(size: int, prob: float) -> int:
    """Return the bytes of a dropout mask: one an element, where there is dropout."""
    return size if prob else 0


def attention_bytes(hidden_size: int, heads: int, length: int, dropout_prob: float, precision: Precision) -> float:
    """Return a token's bytes: inputs of both products, queries, keys and values; attention weights, or the softmax's
    sums."""
    keeps_weights = dropout_prob and not precision.cuda
    return precision.size * 5 * hidden_size + ((precision.size + 1) * heads * length if keeps_weights else 4 * heads)
