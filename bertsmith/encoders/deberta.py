"""DeBERTa's encoder (v2 and v3): BERT's layers with attention that tells contents from distances, and its heads.

Source: DeBERTa, arXiv 2006.03654; DeBERTaV3, arXiv 2111.09543; transformers, models/deberta_v2/modeling_deberta_v2.py.
"""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.attention import FULL, AttentionWindow, attend
from bertsmith.encoders.bert import BertClassificationHead, BertConfig, BertLayer, MaskedTokenHead, SelfAttention
from bertsmith.encoders.config import Precision, TokenEmbeddings, VocabularyHead, attention_bytes, dropout_bytes
from bertsmith.encoders.convolution import RowConvolution
from bertsmith.encoders.distances import DistanceVectors
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.heads import PlainReplacedTokenHead
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.mask_decoder import EnhancedMaskHead, bytes_by_prediction, flops_by_prediction
from bertsmith.encoders.relative import RelativeBias
from bertsmith.encoders.tokens import Tokens

RelativeTerm = Literal["c2p", "p2c"]
"""A part of a score besides the contents' product: the query's content with the distance to its key, or the key's
content with the distance to its query."""


@settings
class DebertaConfig(BertConfig):
    """DeBERTa's encoder; the defaults are DeBERTaV3's extra small shape, 12 × 384."""

    kind: Literal["deberta"] = setting(  # type: ignore[assignment]
        "deberta", "deberta: DeBERTa's (v2 and v3), BERT's with scores of contents and of distances"
    )
    hidden_size: int = setting(384, "width of the residual stream, D", ge=1)
    type_vocab_size: int = setting(0, "kinds of segment; 0: no segment vectors", ge=0)
    layer_norm_eps: float = setting(1e-7, "added to the variance in layer norms", gt=0)
    position_biased_input: bool = setting(False, "add a vector of its position to each token's, as BERT does")
    pos_att_type: tuple[RelativeTerm, ...] = setting(
        ("c2p", "p2c"),
        "the scores of distances. c2p: a query's product with the distance to its key; p2c: a key's with the distance "
        "to its query; none: attention knows no distances",
    )
    share_att_key: bool = setting(
        True, "distances go through the layer's projections of keys and queries, as contents do, not through their own"
    )
    position_buckets: int = setting(
        256, "to half as many tokens each distance has its own vector, longer ones share; 0: each has its own", ge=0
    )
    max_relative_positions: int | None = setting(
        None, "distances beyond it are as it is; left out: max_position_embeddings", ge=1
    )
    norm_rel_ebd: Literal["none", "layer_norm"] = setting("layer_norm", "normalise the vectors of distances, or not")
    conv_kernel_size: int = setting(
        0, "tokens that a convolution beside the first layer sees, an odd number; 0: no convolution", ge=0
    )
    conv_groups: int = setting(1, "parts of the convolution that do not see each other", ge=1)
    conv_act: Literal["tanh", "gelu"] = setting("tanh", "the convolution's activation")
    enhanced_mask_decoder: bool = setting(
        False,
        "masked tokens are told their positions: the last layer runs twice, and its first queries are the second last "
        "layer's vectors with those of positions added. No Hugging Face class has it, so an export is without",
    )

    takes_windows: ClassVar[bool] = False
    in_reference: ClassVar[bool] = False
    has_relative_bias: ClassVar[bool] = True

    @property
    def tagging_dropout(self) -> float:
        return self.hidden_dropout_prob

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.pos_att_type)) < len(self.pos_att_type):
            raise ValueError(f"pos_att_type = {list(self.pos_att_type)} names a score twice; name each once")
        if self.conv_kernel_size and not self.conv_kernel_size % 2:
            raise ValueError(f"conv_kernel_size = {self.conv_kernel_size} has no middle; take an odd number, or 0")
        if self.conv_kernel_size and self.hidden_size % self.conv_groups:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of conv_groups {self.conv_groups}")
        if self.enhanced_mask_decoder and (self.position_biased_input or self.num_hidden_layers < 2):
            raise ValueError(
                f"enhanced_mask_decoder needs tokens without positions and two layers at least; here "
                f"position_biased_input = {self.position_biased_input}, num_hidden_layers = {self.num_hidden_layers}"
            )
        half, longest = self.position_buckets // 2, self.max_distance - 1
        if self.position_buckets == 1 or (self.position_buckets and longest <= half < self.max_position_embeddings - 1):
            raise ValueError(
                f"position_buckets = {self.position_buckets}: distances up to {longest} have no more than {half} of "
                f"them; take 0, or a larger max_relative_positions"
            )

    @property
    def max_distance(self) -> int:
        return self.max_relative_positions or self.max_position_embeddings

    @property
    def score_scale(self) -> float:
        """The factor of all scores: 1 / √(K × parts), of contents and of each kind of distances."""
        return 1 / math.sqrt(self.head_size * (1 + len(self.pos_att_type)))

    @property
    def has_mask_decoder(self) -> bool:
        return self.enhanced_mask_decoder

    def family(self, of_electra: bool = False) -> str:
        return "deberta-v2"

    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        return DebertaEmbeddings(self, vocab_size)

    def build_projection(self) -> nn.Module:
        projection = nn.Linear(self.embedding, self.hidden_size, bias=False)
        initialize(projection, self.initializer_range)
        return projection

    def build_input_norm(self) -> nn.Module:
        return nn.LayerNorm(self.hidden_size, eps=self.layer_norm_eps)

    def build_input_dropout(self) -> nn.Module:
        return Dropout(self.hidden_dropout_prob)

    def build_distances(self) -> nn.Module | None:
        has_norm = self.norm_rel_ebd == "layer_norm"
        return DistanceVectors(self, self.position_buckets, self.max_distance, has_norm) if self.pos_att_type else None

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        assert window == FULL
        return DebertaLayer(self, has_convolution=index == 0 and self.conv_kernel_size > 0)

    def masked_token_head(self, vocab_size: int) -> VocabularyHead:
        return (EnhancedMaskHead if self.enhanced_mask_decoder else MaskedTokenHead)(self, vocab_size)

    def replaced_token_head(self) -> nn.Module:
        return PlainReplacedTokenHead(self)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        return DebertaClassificationHead(self, num_labels)

    def flops_per_token(self, length: float) -> float:
        """Count dense layers, scores of contents and of distances, and the convolution. The projections of distances,
        which all rows of a micro-batch share, are not counted. On the CPU, in blocks, a token's products are with
        L + 64 distances (`relative.py`); those with 2L of a GPU are counted."""
        convolution = self.conv_kernel_size * self.hidden_size * self.hidden_size / self.conv_groups
        distances = self.num_hidden_layers * self._distance_flops(length)
        return super().flops_per_token(length) + distances + 2.0 * convolution

    def _distance_flops(self, length: float) -> float:
        """Count a layer's products with 2L distances, to all tokens before and after."""
        return 2.0 * len(self.pos_att_type) * 2 * length * self.hidden_size

    def masked_token_head_flops(self, vocab_size: int) -> float:
        decoder = flops_by_prediction(self) if self.enhanced_mask_decoder else 0.0
        return super().masked_token_head_flops(vocab_size) + decoder

    def mask_decoder_flops(self, length: float) -> float:
        """Count the attention of the last layer's second turn."""
        attention = 2.0 * (3 * self.hidden_size + 2 * length) * self.hidden_size + self._distance_flops(length)
        return attention if self.enhanced_mask_decoder else 0.0

    def replaced_token_head_flops(self) -> float:
        return 2.0 * self.hidden_size

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """Count as for BERT, whose norm of embeddings is after the projection here. With distances the CPU keeps
        attention weights without dropout too, a GPU the bias as well."""
        hidden, prob = self.hidden_size, self.hidden_dropout_prob
        kept = super().activation_bytes_per_token(length, precision)
        kept += 4 * (hidden - self.embedding) + dropout_bytes(hidden, prob) - dropout_bytes(self.embedding, prob)
        kept += self.num_hidden_layers * self._distance_bytes(length, precision)
        if self.conv_kernel_size:  # inputs of the product, of the activation and of the norm
            kept += precision.size * 2 * hidden + dropout_bytes(hidden, prob) + 4 * hidden
        return kept

    def _distance_bytes(self, length: int, precision: Precision) -> float:
        """Count what distances keep besides in a layer: attention weights, and on a GPU scaled queries and keys."""
        has_weights = self.pos_att_type and (precision.cuda or not self.attention_probs_dropout_prob)
        weights = precision.size * self.heads * length if has_weights else 0
        return weights + (precision.size * 2 * self.hidden_size if self.pos_att_type and precision.cuda else 0)

    def masked_token_head_bytes(self, precision: Precision) -> float:
        decoder = bytes_by_prediction(self, precision) if self.enhanced_mask_decoder else 0.0
        return super().masked_token_head_bytes(precision) + decoder

    def mask_decoder_bytes(self, length: int, precision: Precision) -> float:
        """Count the second turn's attention, of whose output only predicted positions are kept, and both turns' queries
        beside the layer's input."""
        hidden, heads, prob = self.hidden_size, self.heads, self.attention_probs_dropout_prob
        attention = attention_bytes(hidden, heads, length, prob, precision, self.has_relative_bias)
        return attention + self._distance_bytes(length, precision) if self.enhanced_mask_decoder else 0.0

    def replaced_token_head_bytes(self, precision: Precision) -> float:
        """Count the input."""
        return precision.size * self.hidden_size


class DebertaEmbeddings(TokenEmbeddings):
    """Token vectors, with those of positions and segments where the model has them: [T] ids → [T, E]. Their norm comes
    after the projection, in the stack of layers."""

    def __init__(self, settings: DebertaConfig, vocab_size: int):
        super().__init__()
        size, positions, segments = settings.embedding, settings.max_position_embeddings, settings.type_vocab_size
        self.token = nn.Embedding(vocab_size, size)
        self.position = nn.Embedding(positions, size) if settings.position_biased_input else None
        self.segment = nn.Embedding(segments, size) if segments else None
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """Embed `tokens`; `base` [V, E] is added to the token table."""
        summed = self.token(tokens.ids)
        if self.position is not None:
            summed = summed + self.position(tokens.positions)
        if self.segment is not None:
            one = self.segment.num_embeddings == 1
            summed = summed + (self.segment.weight[0] if one else self.segment(tokens.segment_ids))
        return summed if base is None else summed + F.embedding(tokens.ids, base)


class DisentangledAttention(SelfAttention):
    """Multi-head attention within rows whose scores are of contents and of distances: [T, D] → [T, D]."""

    def __init__(self, settings: DebertaConfig):
        super().__init__(settings)
        size, own = settings.hidden_size, not settings.share_att_key
        self.terms, self.scale = settings.pos_att_type, settings.score_scale
        self.distance_key = nn.Linear(size, size) if own and "c2p" in self.terms else None
        self.distance_query = nn.Linear(size, size) if own and "p2c" in self.terms else None

    def forward(
        self,
        x: Tensor,
        tokens: Tokens,
        distances: tuple[Tensor, Tensor] | None = None,
        query: Tensor | None = None,
        indices: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            distances: the result of `DistanceVectors`, where the model has them.
            query: the vectors that attend to `x`, [T, D]; None: `x` itself.
            indices: [M], of the tokens that are asked for → [M, D]; None: all.
        """
        queries, key, value = self._parts(x, query)
        bias = None if distances is None else self.relative_bias(*distances)
        prob = self.dropout_prob if self.training else 0.0
        mixed = attend(queries, key, value, tokens, prob, score_bias=bias).reshape(x.shape)
        return self.dropout(self.dense(mixed if indices is None else mixed.index_select(0, indices)))

    def _parts(self, x: Tensor, query: Tensor | None) -> tuple[Tensor, ...]:
        """Return queries, of `query` or of `x`, keys and values: [T, H, K] each."""
        if query is None:
            return self.query_key_value(x).view(x.shape[0], *self.shape).unbind(dim=1)
        weights, biases = self.query_key_value.weight, self.query_key_value.bias
        others = F.linear(x, weights[x.shape[1] :], biases[x.shape[1] :]).view(x.shape[0], 2, *self.shape[1:])
        return self._project(query, None, part=0), *others.unbind(dim=1)

    def relative_bias(self, vectors: Tensor, rows: Tensor) -> RelativeBias:
        """Project the vectors of distances, [R, D], of which the distances −L … L from query to key have `rows`."""
        vectors = self.dropout(vectors)
        keys = queries = None
        if "c2p" in self.terms:
            keys = self._project(vectors, self.distance_key, part=1).index_select(0, rows[:-1].flip(0))
        if "p2c" in self.terms:
            queries = self._project(vectors, self.distance_query, part=0).index_select(0, rows[1:])
        return RelativeBias(keys, queries, self.scale)

    def _project(self, vectors: Tensor, own: nn.Linear | None, part: int) -> Tensor:
        """Project by an own layer, or by that of the contents' queries (part 0) or keys (1): [R, D] → [R, H, K]."""
        if own is None:
            size = vectors.shape[1]
            shared, rows = self.query_key_value, slice(part * size, (part + 1) * size)
            return F.linear(vectors, shared.weight[rows], shared.bias[rows]).view(-1, *self.shape[1:])
        return own(vectors).view(-1, *self.shape[1:])


class DebertaLayer(BertLayer):
    """BERT's post-norm layer with disentangled attention, and a convolution beside it or not."""

    def __init__(self, settings: DebertaConfig, has_convolution: bool = False):
        super().__init__(settings, attention=DisentangledAttention(settings))
        activation = torch.tanh if settings.conv_act == "tanh" else F.gelu
        parts = settings.conv_kernel_size, settings.conv_groups
        self.convolution = RowConvolution(settings, *parts, activation) if has_convolution else None

    def forward(
        self,
        x: Tensor,
        tokens: Tokens,
        distances: tuple[Tensor, Tensor] | None = None,
        query: Tensor | None = None,
        indices: Tensor | None = None,
    ) -> Tensor:
        """Run the layer; the arguments are those of `DisentangledAttention`, and what attends is what it adds to."""
        mixed, start = self.attention(x, tokens, distances, query, indices), x if query is None else query
        attended = self.attention_norm((start if indices is None else start.index_select(0, indices)) + mixed)
        outputs = self.feed_forward_norm(attended + self.feed_forward(attended))
        return outputs if self.convolution is None else self.convolution(x, outputs, tokens)


class DebertaClassificationHead(BertClassificationHead):
    """Dense, GELU, dense, as DebertaV2ForSequenceClassification: [N, D] → [N, C]."""

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(F.gelu(self.dense(first))))


DebertaConfig.compiled = (DebertaLayer, DebertaEmbeddings)
