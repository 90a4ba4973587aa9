"""What an encoder is made of, in Hugging Face's terms."""

from typing import Literal

from bertsmith.config.fields import setting, settings


class _Sizes:
    """What follows from the settings that all encoders have."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_attention_heads {self.heads}")

    @property
    def heads(self) -> int:
        return self.num_attention_heads or max(1, self.hidden_size // 64)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    @property
    def embedding(self) -> int:
        return self.embedding_size or self.hidden_size


@settings
class BertConfig(_Sizes):
    """BERT's and ELECTRA's encoder; the defaults are the reference's small size, 12 × 256."""

    kind: Literal["classic"] = setting("classic", "classic: BERT's and ELECTRA's, post-norm with learned positions")
    hidden_size: int = setting(256, "width of the residual stream, D", ge=1)
    num_hidden_layers: int = setting(12, "transformer layers", ge=1)
    num_attention_heads: int | None = setting(None, "heads, H; left out: hidden_size / 64, at least 1", ge=1)
    intermediate_size: int | None = setting(None, "width of the feed-forward part; left out: 4 × hidden_size", ge=1)
    embedding_size: int | None = setting(
        None,
        "width of the embedding tables, E; where it differs from hidden_size (which it is if left out) it is projected",
        ge=1,
    )
    max_position_embeddings: int = setting(512, "longest row the model can hold, in tokens", ge=1)
    type_vocab_size: int = setting(2, "kinds of segment", ge=1)
    hidden_dropout_prob: float = setting(0.1, "dropout on embeddings and on each part's output", ge=0, lt=1)
    attention_probs_dropout_prob: float = setting(0.1, "dropout on attention weights", ge=0, lt=1)
    initializer_range: float = setting(0.02, "standard deviation of initial weights, cut at two of them", gt=0)
    layer_norm_eps: float = setting(1e-12, "added to the variance in layer norms", gt=0)

    @property
    def feed_forward(self) -> int:
        return self.intermediate_size or 4 * self.hidden_size


@settings
class ModernBertConfig(_Sizes):
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
    max_position_embeddings: int = setting(8192, "longest row the model is said to hold, in tokens", ge=1)
    global_attn_every_n_layers: int = setting(3, "of so many layers the first sees the whole row", ge=1)
    local_attention: int = setting(128, "tokens around it, both sides together, that a token of the others sees", ge=2)
    global_rope_theta: float = setting(160_000.0, "base of the rotary positions in layers that see the row", gt=0)
    local_rope_theta: float = setting(10_000.0, "base of the rotary positions in the others", gt=0)
    embedding_dropout: float = setting(0.0, "dropout on embeddings", ge=0, lt=1)
    attention_dropout: float = setting(0.0, "dropout on attention weights and on attention's output", ge=0, lt=1)
    mlp_dropout: float = setting(0.0, "dropout inside the feed-forward part", ge=0, lt=1)
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
        """Whether this layer, counted from 0, sees the whole row."""
        return layer % self.global_attn_every_n_layers == 0


EncoderSettings = BertConfig | ModernBertConfig
