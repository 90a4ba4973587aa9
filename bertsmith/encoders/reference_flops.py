"""The reference's own count of floating-point operations, to compare with its published numbers.

It counts a training step as two forward passes and, besides matrix products, everything done to single elements, with
each embedding as a product over the whole vocabulary; ours (`costs`) counts three passes of matrix products alone.

Source: google-research/electra, flops_computation.py.
"""

from typing import NamedTuple

from bertsmith.encoders.bert import BertConfig
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
    attention_size: int | None = None
    """Heads times head size, where that is not the hidden size."""
    decodes: bool = False
    """Attends to another row as well, so that attention counts twice."""

    def flops(self) -> float:
        """Count a forward pass of the row."""
        layers = self.encoder.num_hidden_layers * self._layer()
        head = self._discriminator() if self.discriminates else self.predicted * self._softmax()
        return self.length * (layers + self._embedding() + head)

    def _layer(self) -> float:
        """Count a position of a layer. The attention's norm is counted without its width, as in the reference."""
        encoder, length = self.encoder, self.length
        hidden, heads, wide = encoder.hidden_size, encoder.heads, encoder.feed_forward
        size = self.attention_size or hidden
        attention = (
            (3 * 2 * hidden + 3) * size
            + 2 * size * length
            + (SOFTMAX + DROPOUT + 1) * length * heads
            + 2 * hidden * length
            + 2 * hidden * hidden
            + (1 + DROPOUT + 1) * hidden
            + NORM
        )
        feed_forward = 2 * 2 * hidden * wide + (ACTIVATION + 1) * wide + (1 + DROPOUT + 1 + NORM) * hidden
        return attention * (2 if self.decodes else 1) + feed_forward

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


class Preset(NamedTuple):
    """A published pre-training, as the reference counts it."""

    passes: tuple[Pass, ...]
    batch_size: int
    steps: int

    def flops(self) -> float:
        """Count the pre-training from beginning to end."""
        return reference_training_flops(sum(part.flops() for part in self.passes)) * self.batch_size * self.steps


def published_flops() -> dict[str, float]:
    """Return name → operations in all, of the models in the reference's table; it quotes two of them from elsewhere."""
    return {name: preset.flops() for name, preset in PRESETS.items()} | QUOTED


def _size(hidden_size: int, num_hidden_layers: int, embedding_size: int | None = None) -> BertConfig:
    return BertConfig(
        hidden_size=hidden_size, num_hidden_layers=num_hidden_layers, embedding_size=embedding_size
    )  # fmt: skip


def _electra(discriminator: BertConfig, generator: BertConfig, length: int = 512) -> tuple[Pass, ...]:
    return Pass(discriminator, length, discriminates=True), Pass(generator, length)


_LARGE = _electra(_size(1024, 24), _size(256, 24, 1024))
_T5 = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=128, intermediate_size=65_536)

PRESETS = {
    "gpt": Preset((Pass(_size(768, 12), vocab_size=40_000, predicted=1.0),), 128, 960_800),
    "bert_small": Preset((Pass(_size(256, 12, 128), length=128),), 128, 1_450_000),
    "bert_base": Preset((Pass(_size(768, 12)),), 256, 1_000_000),
    "bert_large": Preset((Pass(_size(1024, 24)),), 256, 1_000_000),
    "electra_small": Preset(_electra(_size(256, 12, 128), _size(64, 12, 128), 128), 128, 1_000_000),
    "electra_base": Preset(_electra(_size(768, 12), _size(256, 12, 768)), 256, 766_000),
    "electra_400k": Preset(_LARGE, 2048, 400_000),
    "electra_1.75M": Preset(_LARGE, 2048, 1_750_000),
    "roberta": Preset((Pass(_size(1024, 24), vocab_size=50_265),), 8000, 500_000),
    "albert": Preset((Pass(_size(4096, 12, 128), vocab_size=30_000),), 4096, 1_500_000),
    "t5_11b": Preset(
        (
            Pass(_T5, vocab_size=32_000, predicted=0.0, attention_size=128 * 128),
            Pass(_T5, vocab_size=32_000, predicted=1.0, attention_size=128 * 128, decodes=True),
        ),
        2048,
        1_000_000,
    ),
}
"""By the reference's names."""

QUOTED = {
    "elmo": 2 * 10 * 768_648_884 * 568_093_262_680 / (20 * 128),
    "xlnet": 2 * 500_000 * 8192 * 15_064_773_691_518 / 32,
}
"""Not counted but quoted by the reference."""
