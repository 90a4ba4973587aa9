"""One transformer layer of BERT's."""

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.attention import FULL, AttentionWindow, SelfAttention
from bertsmith.encoders.config import BertConfig
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.tokens import Tokens


class FeedForward(nn.Module):
    """Two dense layers with an exact (erf) GELU between: [T, D] → [T, D]."""

    def __init__(self, settings: BertConfig):
        super().__init__()
        self.expand = nn.Linear(settings.hidden_size, settings.feed_forward)
        self.contract = nn.Linear(settings.feed_forward, settings.hidden_size)
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(F.gelu(self.expand(x))))


class Layer(nn.Module):
    """BERT's post-norm layer: attention and feed-forward, each added to its input, then normalised."""

    def __init__(self, settings: BertConfig, window: AttentionWindow = FULL):
        super().__init__()
        self.attention = SelfAttention(settings, window)
        self.attention_norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.feed_forward = FeedForward(settings)
        self.feed_forward_norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        x = self.attention_norm(x + self.attention(x, tokens))
        return self.feed_forward_norm(x + self.feed_forward(x))
