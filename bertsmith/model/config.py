"""What an encoder is made of."""

from bertsmith.settings import setting, settings


@settings
class EncoderSettings:
    """BERT's encoder in the reference's terms; the defaults are its small size, 12 × 256."""

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
    def feed_forward(self) -> int:
        return self.intermediate_size or 4 * self.hidden_size

    @property
    def embedding(self) -> int:
        return self.embedding_size or self.hidden_size
