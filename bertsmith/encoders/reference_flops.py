"""The reference's own count of floating-point operations, to compare with its published numbers.

It counts a training step as two forward passes and, besides matrix products, everything done to single elements, with
each embedding as a product over the whole vocabulary; ours (`config`) counts three passes of matrix products only.

Source: google-research/electra, flops_computation.py.
"""

from typing import NamedTuple

from bertsmith.encoders.config import EncoderConfig

PREDICTED = 0.15625
"""Share of positions that go through the output softmax: 20 of 128, 80 of 512."""

DROPOUT, NORM, ACTIVATION, SOFTMAX = 4, 5, 8, 5
"""Operations an element."""


class Pass(NamedTuple):
    """A network run over a row of `length` tokens."""

    encoder: EncoderConfig
    length: int = 512
    vocab_size: int = 30_522
    predicted: float = PREDICTED
    """Share of positions at which a word is predicted."""
    discriminates: bool = False
    """A head for replaced tokens in place of the one for words."""

    def flops(self) -> float:
        """Count a forward pass of the row."""
        layers = self.encoder.num_hidden_layers * self._layer()
        head = self._discriminator() if self.discriminates else self.predicted * self._softmax()
        return self.length * (layers + self._embedding() + head)

    def _layer(self) -> float:
        """Count a position of a layer. The attention's norm is counted without its width, as in the reference."""
        encoder, length = self.encoder, self.length
        hidden, heads, wide = encoder.hidden_size, encoder.heads, encoder.feed_forward
        attention = (
            (3 * 2 * hidden + 3) * hidden
            + 2 * hidden * length
            + (SOFTMAX + DROPOUT + 1) * length * heads
            + 2 * hidden * length
            + 2 * hidden * hidden
            + (1 + DROPOUT + 1) * hidden
            + NORM
        )
        feed_forward = 2 * 2 * hidden * wide + (ACTIVATION + 1) * wide + (1 + DROPOUT + 1 + NORM) * hidden
        return attention + feed_forward

    def _embedding(self) -> float:
        hidden, size = self.encoder.hidden_size, self.encoder.embedding
        tables = 2 * size * self.vocab_size + 2 * size * (self.length + 2)
        projection = 2 * hidden * size + hidden if size != hidden else 0
        return tables + (2 + NORM + DROPOUT) * size + projection

    def _softmax(self) -> float:
        hidden, size = self.encoder.hidden_size, self.encoder.embedding
        return (
            2 * size * self.vocab_size + (2 * hidden + 1 + ACTIVATION + NORM) * size + (SOFTMAX + 2) * self.vocab_size
        )

    def _discriminator(self) -> float:
        hidden = self.encoder.hidden_size
        return (2 * hidden + 1 + ACTIVATION + 2) * hidden


def reference_training_flops(forward: float) -> float:
    """Return the operations of a training step: the reference counts the backward pass as one forward pass."""
    return 2.0 * forward


PUBLISHED_FLOPS = {
    "bert_small": 1.4187399146496e18, "bert_base": 6.428335104e19, "bert_large": 1.91720905883648e20,
    "electra_small": 1.293743798272e18, "electra_base": 6.424541834277683e19, "electra_400k": 7.117606040895488e20,
    "electra_1.75M": 3.113952642891776e21, "gpt": 3.968752230785352e19, "roberta": 3.187221435776e21,
    "albert": 3.113923955392512e22, "t5_11b": 4.581900124212429e22, "elmo": 3.4114394716164127e18,
    "xlnet": 3.856582065028608e21,
}  # fmt: skip
"""Operations of published pre-trainings, as that file prints them (commit 8a46635); two of them it quotes."""
