"""The enhanced mask decoder of DeBERTa, by which masked tokens know their places: its head, and what it costs.

What it does to the layers is in `encoder.py`: the last one runs twice, on the vectors of the second last.
"""

from torch import Tensor, nn

from bertsmith.encoders.bert import MaskedTokenHead, PostNormConfig
from bertsmith.encoders.config import Precision, dropout_bytes
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.tokens import Tokens


class EnhancedMaskHead(MaskedTokenHead):
    """BERT's masked-token head with vectors of positions, which the first turn's queries are told."""

    def __init__(self, settings: PostNormConfig, vocab_size: int):
        super().__init__(settings, vocab_size)
        self.position = nn.Embedding(settings.max_position_embeddings, settings.hidden_size)
        initialize(self.position, settings.initializer_range)

    def position_vectors(self, tokens: Tokens) -> Tensor:
        return self.position(tokens.positions)


def flops_by_prediction(settings: PostNormConfig) -> float:
    """Count the layers of the second turn that only predicted positions go through, forward."""
    hidden = settings.hidden_size
    return 2.0 * (hidden * hidden + 2 * hidden * settings.feed_forward)


def bytes_by_prediction(settings: PostNormConfig, precision: Precision) -> float:
    """Count what these keep for the backward pass: inputs of products, of GELU and of norms, and dropout."""
    hidden = settings.hidden_size
    kept = precision.size * (2 * hidden + 2 * settings.feed_forward) + 2 * 4 * hidden
    dropout = (settings.attention_output_dropout_prob, settings.hidden_dropout_prob)
    return kept + sum(dropout_bytes(hidden, prob) for prob in dropout)
