"""What is counted of every encoder: floating-point operations, and bytes that a forward pass keeps for the backward
pass, which are most of the memory of a training step."""

from typing import NamedTuple


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


def training_flops(forward: float) -> float:
    """The backward pass costs two forward ones."""
    return 3.0 * forward


def dropout_bytes(size: int, prob: float) -> int:
    """One byte an element, where there is dropout."""
    return size if prob else 0


def attention_bytes(hidden_size: int, heads: int, length: int, dropout_prob: float, precision: Precision) -> float:
    """A token's inputs of both products, queries, keys and values; its attention weights, or the softmax's sums."""
    keeps_weights = dropout_prob and not precision.cuda
    return precision.size * 5 * hidden_size + ((precision.size + 1) * heads * length if keeps_weights else 4 * heads)
