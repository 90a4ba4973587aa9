"""ModernBERT's encoder: pre-norm layers with rotary positions, gated feed-forward and local attention, and its heads.

Source: transformers, models/modernbert/modeling_modernbert.py.
"""

import math
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.attention import FULL, AttentionWindow, attend
from bertsmith.encoders.config import (
    CLASSIFIER_DROPOUT,
    EncoderConfig,
    Precision,
    TokenEmbeddings,
    VocabularyHead,
    attention_bytes,
    dropout_bytes,
)
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.linear import JointLinear
from bertsmith.encoders.tokens import Tokens


@settings
class ModernBertConfig(EncoderConfig):
    """ModernBERT's encoder; the defaults are Ettin's second shape, 10 × 384.

    Source: transformers, models/modernbert; ModernBERT, arXiv 2412.13663, section 2; Ettin, arXiv 2507.11412, table 1.
    """

    kind: Literal["modern"] = setting(
        "modern", "modern: ModernBERT's, pre-norm with rotary positions, gated feed-forward, local attention"
    )
    hidden_size: int = setting(384, "width of the residual stream, D", ge=1)
    num_hidden_layers: int = setting(10, "transformer layers", ge=1)
    num_attention_heads: int | None = setting(None, "heads, H; left out: hidden_size / 64, at least 1", ge=1)
    intermediate_size: int | None = setting(None, "width of the feed-forward part; left out: 1.5 × hidden_size", ge=1)
    embedding_size: int | None = setting(
        None,
        "width of the embedding table, E; where it differs from hidden_size (which it is if left out) it is projected, "
        "and the projection becomes part of the table at export",
        ge=1,
    )
    max_position_embeddings: int = setting(8192, "longest row that the model is meant for, in tokens", ge=1)
    global_attn_every_n_layers: int = setting(3, "of so many layers the first attends to the full row", ge=1)
    local_attention: int = setting(128, "attention window of the other layers, in tokens, both sides together", ge=2)
    global_rope_theta: float = setting(160_000.0, "base of the rotary positions in layers that see the row", gt=0)
    local_rope_theta: float = setting(10_000.0, "base of the rotary positions in the others", gt=0)
    embedding_dropout: float = setting(0.0, "dropout on embeddings", ge=0, lt=1)
    attention_dropout: float = setting(0.0, "dropout on attention weights and on attention's output", ge=0, lt=1)
    mlp_dropout: float = setting(0.0, "dropout inside the feed-forward part", ge=0, lt=1)
    classifier_dropout: float = setting(0.1, CLASSIFIER_DROPOUT, ge=0, lt=1)
    initializer_range: float = setting(
        0.02, "standard deviation of initial weights, cut at two of them; less by √(2 × layers) before a sum", gt=0
    )
    norm_eps: float = setting(1e-5, "added to the variance in layer norms", gt=0)
    classifier_pooling: Literal["cls", "mean"] = setting(
        "cls", "what fine-tuning reads a row's classes from: the vector of [CLS], or the mean of all its tokens'"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_size % 2:
            raise ValueError(f"a head of {self.head_size} numbers has no halves to turn; change num_attention_heads")
        if self.local_attention % 2:
            raise ValueError(f"local_attention = {self.local_attention} has no halves; take an even number")

    @property
    def feed_forward(self) -> int:
        return self.intermediate_size or self.hidden_size * 3 // 2

    def is_global(self, layer: int) -> bool:
        """Return whether this layer, counted from 0, sees the row from end to end."""
        return layer % self.global_attn_every_n_layers == 0

    @property
    def pools_mean(self) -> bool:
        return self.classifier_pooling == "mean"

    def with_pooling(self, pooling: Literal["cls", "mean"]) -> "ModernBertConfig":
        return replace(self, classifier_pooling=pooling)

    def family(self, of_electra: bool = False) -> str:
        return "modernbert"

    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        return ModernBertEmbeddings(self, vocab_size)

    def build_projection(self) -> nn.Module:
        projection = nn.Linear(self.embedding, self.hidden_size, bias=False)
        initialize(projection, self.embedding**-0.5)
        return projection

    def build_input_norm(self) -> nn.Module:
        return nn.LayerNorm(self.hidden_size, eps=self.norm_eps, bias=False)

    def build_input_dropout(self) -> nn.Module:
        return Dropout(self.embedding_dropout)

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        """Return layer `index`, which has a window of its own."""
        assert window == FULL
        return ModernBertLayer(self, index)

    def build_final_norm(self) -> nn.Module:
        return nn.LayerNorm(self.hidden_size, eps=self.norm_eps, bias=False)

    def masked_token_head(self, vocab_size: int) -> VocabularyHead:
        return ModernBertMaskedTokenHead(self, vocab_size)

    def project_to_embedding(self, vectors: Tensor, projection: nn.Module) -> Tensor:
        """Multiply with the projection of the table, which is thereby the output layer too, as after folding."""
        return vectors @ projection.weight if isinstance(projection, nn.Linear) else vectors

    def replaced_token_head(self) -> nn.Module:
        return ModernBertReplacedTokenHead(self)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        return ModernBertClassificationHead(self, num_labels, self.classifier_dropout)

    def tagging_head(self, num_labels: int) -> nn.Module:
        return ModernBertClassificationHead(self, num_labels, self.classifier_dropout)

    def answer_head(self) -> nn.Module:
        return ModernBertClassificationHead(self, 2, dropout_prob=0.0)

    def fold_projection(self, weights: dict[str, Tensor]) -> tuple["ModernBertConfig", dict[str, Tensor]]:
        """Multiply the projection of the embeddings into the table."""
        if not self.projection_size:
            return self, weights
        table, projection = "encoder.embeddings.token.weight", "encoder.projection.weight"
        folded = {name: tensor for name, tensor in weights.items() if name != projection}
        folded[table] = weights[table] @ weights[projection].T
        return replace(self, embedding_size=None), folded

    def flops_per_token(self, length: float) -> float:
        """Count dense layers and attention scores, in local layers those of the window; nothing else matters."""
        hidden, layers = self.hidden_size, self.num_hidden_layers
        dense = 4 * hidden * hidden + 3 * hidden * self.feed_forward
        window = min(length, self.local_attention + 1)
        seen = sum(length if self.is_global(layer) else window for layer in range(layers))
        attention = 2 * seen * hidden  # scores, and the mixing of values
        return 2.0 * (layers * dense + attention + self.projection_size)

    def masked_token_head_flops(self, vocab_size: int) -> float:
        dense = self.hidden_size * self.hidden_size + self.projection_size
        return 2.0 * (dense + self.embedding * vocab_size)

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        hidden, layers, prob = self.hidden_size, self.num_hidden_layers, self.attention_dropout
        projection = precision.size * self.embedding if self.projection_size else 0
        norms = 4 * hidden * (2 * layers + 1)  # the first layer's input is normalised already
        attention = attention_bytes(hidden, self.heads, length, prob, precision) + dropout_bytes(hidden, prob)
        # Inputs of both products and of GELU, and both factors of the gate.
        feed_forward = precision.size * (hidden + 4 * self.feed_forward)
        feed_forward += dropout_bytes(self.feed_forward, self.mlp_dropout)
        embeddings = projection + dropout_bytes(hidden, self.embedding_dropout)
        return embeddings + norms + layers * (attention + feed_forward)

    def masked_token_head_bytes(self, precision: Precision) -> float:
        projection = precision.size * self.embedding if self.projection_size else 0
        return self.replaced_token_head_bytes(precision) + projection

    def replaced_token_head_bytes(self, precision: Precision) -> float:
        """Count the inputs of both products, of GELU and of the norm."""
        return precision.size * 3 * self.hidden_size + 4 * self.hidden_size


class ModernBertEmbeddings(TokenEmbeddings):
    """Token vectors only, [T] ids → [T, E]: positions come with attention, the norm with the stack of layers."""

    def __init__(self, settings: ModernBertConfig, vocab_size: int):
        super().__init__()
        self.token = nn.Embedding(vocab_size, settings.embedding)
        initialize(self.token, settings.initializer_range)

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """Embed `tokens`; `base` [V, E] is added to the token table."""
        vectors = self.token(tokens.ids)
        return vectors if base is None else vectors + F.embedding(tokens.ids, base)


class RotaryAttention(nn.Module):
    """Multi-head attention within rows, in a window or not; rotary positions: [T, D] → [T, D]."""

    def __init__(self, settings: ModernBertConfig, index: int):
        super().__init__()
        size = settings.hidden_size
        everywhere = settings.is_global(index)
        self.window = FULL if everywhere else (settings.local_attention // 2, settings.local_attention // 2)
        self.theta = settings.global_rope_theta if everywhere else settings.local_rope_theta
        self.shape = (3, settings.heads, settings.head_size)
        self.dropout_prob = settings.attention_dropout
        self.query_key_value = JointLinear(size, size, parts=3, bias=False)
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
    """Apply rotary positions: numbers i and i + K/2 of a head are rotated by position × theta^(−2i/K), in float32.

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
        self.expand = JointLinear(settings.hidden_size, settings.feed_forward, parts=2, bias=False)
        self.dropout = Dropout(settings.mlp_dropout)
        self.contract = nn.Linear(settings.feed_forward, settings.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated, gate = self.expand(x).chunk(2, dim=-1)
        return self.contract(self.dropout(F.gelu(activated) * gate))


class ModernBertLayer(nn.Module):
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
        inward: tuple[nn.Linear, ...] = (self.attention.query_key_value, self.feed_forward.expand)
        for part in inward:
            initialize(part, settings.initializer_range)
        for part in (self.attention.dense, self.feed_forward.contract):
            initialize(part, outward)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        x = x + self.attention(self.attention_norm(x), tokens)
        return x + self.feed_forward(self.feed_forward_norm(x))


class ModernBertHead(nn.Module):
    """Dense, GELU, norm, which all of ModernBERT's heads begin with: [M, D] → [M, D].

    Source: transformers, models/modernbert/modeling_modernbert.py, ModernBertPredictionHead.
    """

    def __init__(self, settings: ModernBertConfig):
        super().__init__()
        size = settings.hidden_size
        self.dense = nn.Linear(size, size, bias=False)
        self.norm = nn.LayerNorm(size, eps=settings.norm_eps, bias=False)
        initialize(self.dense, settings.initializer_range / math.sqrt(2 * settings.num_hidden_layers))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(vectors)))


class ModernBertMaskedTokenHead(ModernBertHead, VocabularyHead):
    """The layers before the product with the token table, [M, D] → [M, D], and the bias after it, [V]."""

    def __init__(self, settings: ModernBertConfig, vocab_size: int):
        super().__init__(settings)
        self.bias = nn.Parameter(torch.zeros(vocab_size))


class ModernBertClassificationHead(ModernBertHead):
    """The head of ModernBertForSequenceClassification, [N, D] → [N, C], and of ModernBertForTokenClassification."""

    def __init__(self, settings: ModernBertConfig, num_labels: int, dropout_prob: float):
        super().__init__(settings)
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        initialize(self.output, settings.hidden_size**-0.5)

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(super().forward(first)))


class ModernBertReplacedTokenHead(ModernBertClassificationHead):
    """The head of ModernBertForTokenClassification with one label: [T, D] → [T] logits."""

    def __init__(self, settings: ModernBertConfig):
        super().__init__(settings, num_labels=1, dropout_prob=0.0)

    def forward(self, vectors: Tensor) -> Tensor:
        return super().forward(vectors)[:, 0]


ModernBertConfig.compiled = (ModernBertLayer, ModernBertHead)
