"""BERT's and ELECTRA's encoder: post-norm layers with learned positions, and its heads; the parts of encoders like it.

Source: google-research/electra, model/modeling.py; transformers, models/bert and models/electra.
"""

from typing import ClassVar, Literal

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
from bertsmith.encoders.heads import PlainClassificationHead, PlainReplacedTokenHead
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.linear import JointLinear
from bertsmith.encoders.tokens import Tokens


class PostNormConfig(EncoderConfig):
    """The base of settings of BERT and of encoders that have its layers."""

    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    classifier_dropout: float
    layer_norm_eps: float

    takes_windows: ClassVar[bool] = True
    has_relative_bias: ClassVar[bool] = False
    """Whether the scores of attention have a `RelativeBias`."""

    @property
    def feed_forward(self) -> int:
        return self.intermediate_size or 4 * self.hidden_size

    @property
    def tagging_dropout(self) -> float:
        """Dropout before the outputs of a head for tags."""
        return self.classifier_dropout

    @property
    def attention_output_dropout_prob(self) -> float:
        """Dropout on the output of attention."""
        return self.hidden_dropout_prob

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        return BertLayer(self, window)

    def masked_token_head(self, vocab_size: int) -> VocabularyHead:
        return MaskedTokenHead(self, vocab_size)

    def tagging_head(self, num_labels: int) -> nn.Module:
        return PlainClassificationHead(self, num_labels, self.tagging_dropout, self.initializer_range)

    def answer_head(self) -> nn.Module:
        return PlainClassificationHead(self, 2, 0.0, self.initializer_range)

    def flops_per_token(self, length: float) -> float:
        """Count dense layers and attention scores; nothing else matters."""
        hidden, layers = self.hidden_size, self.num_hidden_layers
        dense = 4 * hidden * hidden + 2 * hidden * self.feed_forward
        attention = 2 * (layers * length) * hidden  # scores, and the mixing of values
        return 2.0 * (layers * dense + attention + self.projection_size)

    def masked_token_head_flops(self, vocab_size: int) -> float:
        return 2.0 * (self.hidden_size * self.embedding + self.embedding * vocab_size)

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        hidden, prob = self.hidden_size, self.hidden_dropout_prob
        embeddings = 4 * self.embedding + dropout_bytes(self.embedding, prob)
        projection = precision.size * self.embedding if self.projection_size else 0
        # Of each part besides: what dropout left, and the norm's input.
        attention_prob, is_relative = self.attention_probs_dropout_prob, self.has_relative_bias
        attention = attention_bytes(hidden, self.heads, length, attention_prob, precision, is_relative)
        attention += dropout_bytes(hidden, self.attention_output_dropout_prob) + 4 * hidden
        feed_forward = precision.size * (hidden + 2 * self.feed_forward)  # inputs of both products and of GELU
        feed_forward += dropout_bytes(hidden, prob) + 4 * hidden
        return embeddings + projection + self.num_hidden_layers * (attention + feed_forward)

    def masked_token_head_bytes(self, precision: Precision) -> float:
        """Count the inputs of both products, of GELU and of the norm."""
        return precision.size * (self.hidden_size + self.embedding) + 2 * 4 * self.embedding


class UnprojectedConfig(PostNormConfig):
    """The same of encoders whose Hugging Face classes have embeddings as wide as the layers, and no class for
    discriminators: one is written as their …ForTokenClassification with one label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection_size:
            raise ValueError(
                f"embedding_size {self.embedding} where hidden_size is {self.hidden_size}: the embeddings of a "
                f"{self.kind} encoder are as wide as its layers (a narrower generator takes "
                f"objective.generator.sharing=nothing)"
            )

    def build_projection(self) -> nn.Module:
        raise AssertionError("its embeddings are as wide as its layers")

    def replaced_token_head(self) -> nn.Module:
        return PlainReplacedTokenHead(self)

    def replaced_token_head_flops(self) -> float:
        return 2.0 * self.hidden_size

    def replaced_token_head_bytes(self, precision: Precision) -> float:
        """Count the input of the product."""
        return precision.size * self.hidden_size


@settings
class BertConfig(PostNormConfig):
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
    type_vocab_size: int = setting(2, "kinds of segment; 1: all tokens are of the same one", ge=1)
    hidden_dropout_prob: float = setting(0.1, "dropout on embeddings and on each part's output", ge=0, lt=1)
    attention_probs_dropout_prob: float = setting(0.1, "dropout on attention weights", ge=0, lt=1)
    classifier_dropout: float = setting(0.1, CLASSIFIER_DROPOUT, ge=0, lt=1)
    initializer_range: float = setting(0.02, "standard deviation of initial weights, cut at two of them", gt=0)
    layer_norm_eps: float = setting(1e-12, "added to the variance in layer norms", gt=0)

    in_reference: ClassVar[bool] = True

    @property
    def num_segments(self) -> int:
        return self.type_vocab_size

    def family(self, of_electra: bool = False) -> str:
        """Return "bert" where Hugging Face's BERT holds it, which knows no projection and no replaced tokens."""
        return "electra" if of_electra or self.projection_size else "bert"

    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        return BertEmbeddings(self, vocab_size, self.type_vocab_size)

    def build_projection(self) -> nn.Module:
        projection = nn.Linear(self.embedding, self.hidden_size)
        nn.init.xavier_uniform_(projection.weight)  # the reference leaves it to the framework's default
        nn.init.zeros_(projection.bias)
        return projection

    def replaced_token_head(self) -> nn.Module:
        return ReplacedTokenHead(self)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        head = ElectraClassificationHead if family == "electra" else BertClassificationHead
        return head(self, num_labels)

    def replaced_token_head_bytes(self, precision: Precision) -> float:
        """Count the inputs of both products and of GELU."""
        return precision.size * 3 * self.hidden_size


class BertEmbeddings(TokenEmbeddings):
    """The sum of token, position and segment vectors, normalised: [T] ids → [T, E]."""

    def __init__(self, settings: PostNormConfig, vocab_size: int, num_segments: int):
        """Draw the tables; of segments so many."""
        super().__init__()
        size = settings.embedding
        self.token = nn.Embedding(vocab_size, size)
        self.position = nn.Embedding(settings.max_position_embeddings, size)
        self.segment = nn.Embedding(num_segments, size)
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """Embed `tokens`; `base` [V, E] is added to the token table."""
        summed = self.token(tokens.ids) + self.position(tokens.positions) + self.segment_vectors(tokens)
        if base is not None:
            summed = summed + F.embedding(tokens.ids, base)
        return self.dropout(self.norm(summed))

    def segment_vectors(self, tokens: Tokens) -> Tensor:
        """Return the vectors of the tokens' segments: [T, E], or one for all where there is no other."""
        return self.segment(tokens.segment_ids) if self.segment.num_embeddings > 1 else self.segment.weight[0]


class SelfAttention(nn.Module):
    """Multi-head attention within rows, with its output projection: [T, D] → [T, D]."""

    def __init__(self, settings: PostNormConfig, window: AttentionWindow = FULL):
        super().__init__()
        size = settings.hidden_size
        self.window = window
        self.shape = (3, settings.heads, settings.head_size)
        self.dropout_prob = settings.attention_probs_dropout_prob
        self.query_key_value = JointLinear(size, size, parts=3)  # one product instead of three
        self.dense = nn.Linear(size, size)
        self.dropout = Dropout(settings.attention_output_dropout_prob)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        query, key, value = self.query_key_value(x).view(x.shape[0], *self.shape).unbind(dim=1)  # [T, H, K] each
        mixed = attend(query, key, value, tokens, self.dropout_prob if self.training else 0.0, self.window)
        return self.dropout(self.dense(mixed.reshape(x.shape)))


class FeedForward(nn.Module):
    """Two dense layers with an exact (erf) GELU between: [T, D] → [T, D]."""

    def __init__(self, settings: PostNormConfig):
        super().__init__()
        self.expand = nn.Linear(settings.hidden_size, settings.feed_forward)
        self.contract = nn.Linear(settings.feed_forward, settings.hidden_size)
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(F.gelu(self.expand(x))))


class BertLayer(nn.Module):
    """BERT's post-norm layer: attention and feed-forward, each added to its input, then normalised."""

    def __init__(
        self, settings: PostNormConfig, window: AttentionWindow = FULL, attention: SelfAttention | None = None
    ):
        """Draw the weights; `attention` is an architecture's own."""
        super().__init__()
        self.attention = SelfAttention(settings, window) if attention is None else attention
        self.attention_norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.feed_forward = FeedForward(settings)
        self.feed_forward_norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        x = self.attention_norm(x + self.attention(x, tokens))
        return self.feed_forward_norm(x + self.feed_forward(x))


class MaskedTokenHead(VocabularyHead):
    """The layers before the product with the token table, [M, D] → [M, E], and the bias after it, [V].

    Source: google-research/electra, run_pretraining.py, _get_masked_lm_output.
    """

    def __init__(self, settings: PostNormConfig, vocab_size: int, input_size: int | None = None):
        """Draw the weights; `input_size` is the width of the input vectors, D if it is left out."""
        super().__init__()
        self.dense = nn.Linear(input_size or settings.hidden_size, settings.embedding)
        self.norm = nn.LayerNorm(settings.embedding, eps=settings.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(vectors)))


class ReplacedTokenHead(nn.Module):
    """Dense, GELU, dense: how much a token looks like another's replacement, [T, D] → [T] logits.

    Source: google-research/electra, run_pretraining.py, _get_discriminator_output.
    """

    def __init__(self, settings: PostNormConfig):
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.output = nn.Linear(settings.hidden_size, 1)
        self.apply(lambda module: initialize(module, settings.initializer_range))
        nn.init.xavier_uniform_(self.output.weight)  # the framework's default in the reference

    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(F.gelu(self.dense(vectors)))[:, 0]


class BertClassificationHead(nn.Module):
    """A tanh pooler and a dense layer, as Hugging Face's BertForSequenceClassification: [N, D] → [N, C]."""

    def __init__(self, settings: PostNormConfig, num_labels: int):
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.dropout = nn.Dropout(settings.classifier_dropout)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(torch.tanh(self.dense(first))))


class ElectraClassificationHead(BertClassificationHead):
    """Dense, GELU, dense, as Hugging Face's ElectraForSequenceClassification: [N, D] → [N, C]."""

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(F.gelu(self.dense(self.dropout(first)))))


BertConfig.compiled = (BertLayer, MaskedTokenHead, ReplacedTokenHead, BertEmbeddings)
