"""One transformer layer of ModernBERT's.

Source: transformers, models/modernbert/modeling_modernbert.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.attention import FULL, attend
from bertsmith.encoders.config import ModernBertConfig
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.tokens import Tokens


class RotaryAttention(nn.Module):
    """Multi-head attention within rows, in a window or not; positions turn queries and keys: [T, D] → [T, D]."""

    def __init__(self, settings: ModernBertConfig, index: int):
        super().__init__()
        size = settings.hidden_size
        everywhere = settings.is_global(index)
        self.window = FULL if everywhere else (settings.local_attention // 2, settings.local_attention // 2)
        self.theta = settings.global_rope_theta if everywhere else settings.local_rope_theta
        self.shape = (3, settings.heads, settings.head_size)
        self.dropout_prob = settings.attention_dropout
        self.query_key_value = nn.Linear(size, 3 * size, bias=False)
        self.dense = nn.Linear(size, size, bias=False)
        self.dropout = Dropout(settings.attention_dropout)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        query_key_value = self.query_key_value(x).view(x.shape[0], *self.shape)  # [T, 3, H, K]
        query, key = apply_rotary(query_key_value[:, :2], tokens.positions, self.theta).unbind(dim=1)
        value = query_key_value[:, 2]
        dropout_prob = self.dropout_prob if self.training else 0.0
        mixed = attend(query, key, value, tokens, dropout_prob, self.window)
        return self.dropout(self.dense(mixed.reshape(x.shape)))


def apply_rotary(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary positions: number i of a head and number i + K/2 turned by position × theta^(−2i/K), in float32.

    Args:
        x: [T, …, H, K].
        positions: [T] int64.
    Source: RoFormer, arXiv 2104.09864, section 3.2.2, with the pairs as in transformers.
    """
    half = x.shape[-1] // 2
    frequencies = theta ** (torch.arange(half, device=x.device, dtype=torch.float32) / -half)
    angles = positions[:, None] * frequencies  # [T, K / 2]
    angles = angles.view(x.shape[0], *(1,) * (x.dim() - 2), half)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class GatedFeedForward(nn.Module):
    """Two dense layers with a GELU and a gate between, [T, D] → [T, D]: GeGLU, arXiv 2002.05202."""

    def __init__(self, settings: ModernBertConfig):
        super().__init__()
        self.expand = nn.Linear(settings.hidden_size, 2 * settings.feed_forward, bias=False)
        self.dropout = Dropout(settings.mlp_dropout)
        self.contract = nn.Linear(settings.feed_forward, settings.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated, gate = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(F.gelu(activated) * gate))


class ModernLayer(nn.Module):
    """Pre-norm: attention and feed-forward of the normalised input, each added to it. The first layer's input comes
    normalised from the embeddings."""

    def __init__(self, settings: ModernBertConfig, index: int):
        super().__init__()
        size, eps = settings.hidden_size, settings.norm_eps
        self.attention_norm = nn.LayerNorm(size, eps=eps, bias=False) if index > 0 else nn.Identity()
        self.attention = RotaryAttention(settings, index)
        self.feed_forward_norm = nn.LayerNorm(size, eps=eps, bias=False)
        self.feed_forward = GatedFeedForward(settings)
        outward = settings.initializer_range / math.sqrt(2 * settings.num_hidden_layers)
        for part in (self.attention.query_key_value, self.feed_forward.expand):
            initialize(part, settings.initializer_range)
        for part in (self.attention.dense, self.feed_forward.contract):
            initialize(part, outward)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        x = x + self.attention(self.attention_norm(x), tokens)
        return x + self.feed_forward(self.feed_forward_norm(x))
