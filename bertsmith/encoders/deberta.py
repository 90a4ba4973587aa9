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
from bertsmith.encoders.bert import BertClassificationHead, BertConfig, BertLayer, SelfAttention
from bertsmith.encoders.config import Precision, TokenEmbeddings, dropout_bytes
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.heads import PlainClassificationHead, PlainReplacedTokenHead
from bertsmith.encoders.initialization import initialize
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

    takes_windows: ClassVar[bool] = False
    in_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.pos_att_type)) < len(self.pos_att_type):
            raise ValueError(f"pos_att_type = {list(self.pos_att_type)} names a score twice; name each once")
        if self.conv_kernel_size and not self.conv_kernel_size % 2:
            raise ValueError(f"conv_kernel_size = {self.conv_kernel_size} has no middle; take an odd number, or 0")
        if self.conv_kernel_size and self.hidden_size % self.conv_groups:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of conv_groups {self.conv_groups}")
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
    def distance_span(self) -> int:
        """Vectors of distances to one side."""
        return self.position_buckets or self.max_distance

    @property
    def score_scale(self) -> float:
        """The factor of all scores: 1 / √(K × parts), of contents and of each kind of distances."""
        return 1 / math.sqrt(self.head_size * (1 + len(self.pos_att_type)))

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
        return DistanceVectors(self) if self.pos_att_type else None

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        assert window == FULL
        return DebertaLayer(self, has_convolution=index == 0 and self.conv_kernel_size > 0)

    def replaced_token_head(self) -> nn.Module:
        return PlainReplacedTokenHead(self)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        return DebertaClassificationHead(self, num_labels)

    def tagging_head(self, num_labels: int) -> nn.Module:
        return PlainClassificationHead(self, num_labels, self.hidden_dropout_prob, self.initializer_range)

    def flops_per_token(self, length: float) -> float:
        """Count dense layers, scores of contents and of distances, and the convolution. The projections of distances,
        which all rows of a micro-batch share, are not counted. On the CPU, in blocks, a token's products are with
        L + 64 distances (`relative.py`); those with 2L of a GPU are counted."""
        layers, hidden = self.num_hidden_layers, self.hidden_size
        distances = len(self.pos_att_type) * 2 * length * hidden  # 2L of them: to all tokens before and after
        convolution = self.conv_kernel_size * hidden * hidden / self.conv_groups
        return super().flops_per_token(length) + 2.0 * (layers * distances + convolution)

    def replaced_token_head_flops(self) -> float:
        return 2.0 * self.hidden_size

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        """Count as for BERT, whose norm of embeddings is after the projection here. With distances the CPU keeps
        attention weights without dropout too, a GPU the bias as well."""
        hidden, prob = self.hidden_size, self.hidden_dropout_prob
        kept = super().activation_bytes_per_token(length, precision)
        kept += 4 * (hidden - self.embedding) + dropout_bytes(hidden, prob) - dropout_bytes(self.embedding, prob)
        if self.pos_att_type and (precision.cuda or not self.attention_probs_dropout_prob):
            kept += self.num_hidden_layers * precision.size * self.heads * length
        if self.pos_att_type and precision.cuda:  # scaled queries and keys
            kept += self.num_hidden_layers * precision.size * 2 * hidden
        if self.conv_kernel_size:  # inputs of the product, of the activation and of the norm
            kept += precision.size * 2 * hidden + dropout_bytes(hidden, prob) + 4 * hidden
        return kept

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


class DistanceVectors(nn.Module):
    """The vectors of distances, which all layers project for themselves."""

    def __init__(self, settings: DebertaConfig):
        super().__init__()
        self.span, self.max_distance = settings.distance_span, settings.max_distance
        self.num_buckets = settings.position_buckets
        self.table = nn.Embedding(2 * self.span, settings.hidden_size)
        has_norm = settings.norm_rel_ebd == "layer_norm"
        self.norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps) if has_norm else nn.Identity()
        initialize(self.table, settings.initializer_range)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return the vectors that rows of this length use, [R, D], and which of them the distances −L … L from query to
        key have (query minus key): [2L + 1] int64."""
        length = tokens.max_seqlen
        distances = torch.arange(-length, length + 1, device=tokens.ids.device)
        rows = (self.buckets(distances) + self.span).clamp(0, 2 * self.span - 1)
        table, exact = self.table.weight, self.num_buckets // 2 if self.num_buckets else self.span - 1
        if not torch.compiler.is_compiling() and length <= exact:  # distances have vectors of their own, in order
            first = self.span - length
            table, rows = table[first : self.span + length + 1], rows - first
        return self.norm(table), rows

    def buckets(self, distances: Tensor) -> Tensor:
        """Return each distance's bucket, of its sign: itself up to half of the buckets, then by its logarithm.

        Computed in float32 and rounded up, as transformers' make_log_bucket_position does.
        """
        half = self.num_buckets // 2
        if not half:
            return distances
        far = distances.abs().clamp(min=half)
        steps = (far / half).log() / torch.tensor((self.max_distance - 1) / half).log() * (half - 1)
        return torch.where(distances.abs() <= half, distances, ((steps.ceil() + half) * distances.sign()).long())


class DisentangledAttention(SelfAttention):
    """Multi-head attention within rows whose scores are of contents and of distances: [T, D] → [T, D]."""

    def __init__(self, settings: DebertaConfig):
        super().__init__(settings)
        size, own = settings.hidden_size, not settings.share_att_key
        self.terms, self.scale = settings.pos_att_type, settings.score_scale
        self.distance_key = nn.Linear(size, size) if own and "c2p" in self.terms else None
        self.distance_query = nn.Linear(size, size) if own and "p2c" in self.terms else None

    def forward(self, x: Tensor, tokens: Tokens, distances: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Attend; `distances` is the result of `DistanceVectors`, where the model has them."""
        query, key, value = self.query_key_value(x).view(x.shape[0], *self.shape).unbind(dim=1)  # [T, H, K] each
        bias = None if distances is None else self.relative_bias(*distances)
        prob = self.dropout_prob if self.training else 0.0
        mixed = attend(query, key, value, tokens, prob, score_bias=bias)
        return self.dropout(self.dense(mixed.reshape(x.shape)))

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


class DebertaConvolution(nn.Module):
    """A convolution of a layer's inputs within rows, added to its outputs and normalised: [T, D] twice → [T, D]."""

    def __init__(self, settings: DebertaConfig):
        super().__init__()
        size, width = settings.hidden_size, settings.conv_kernel_size
        self.convolution = nn.Conv1d(size, size, width, padding=width // 2, groups=settings.conv_groups)
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.activation = torch.tanh if settings.conv_act == "tanh" else F.gelu

    def forward(self, x: Tensor, outputs: Tensor, tokens: Tokens) -> Tensor:
        padded, mask = tokens.to_padded(x), tokens.key_mask()  # [N, L, D]
        if mask is not None:
            padded = padded.masked_fill(~mask[:, 0, 0, :, None], 0.0)
        mixed = tokens.to_flat(self.convolution(padded.transpose(1, 2)).transpose(1, 2))
        return self.norm(outputs + self.activation(self.dropout(mixed)))


class DebertaLayer(BertLayer):
    """BERT's post-norm layer with disentangled attention, and a convolution beside it or not."""

    def __init__(self, settings: DebertaConfig, has_convolution: bool = False):
        super().__init__(settings, attention=DisentangledAttention(settings))
        self.convolution = DebertaConvolution(settings) if has_convolution else None

    def forward(self, x: Tensor, tokens: Tokens, distances: tuple[Tensor, Tensor] | None = None) -> Tensor:
        attended = self.attention_norm(x + self.attention(x, tokens, distances))
        outputs = self.feed_forward_norm(attended + self.feed_forward(attended))
        return outputs if self.convolution is None else self.convolution(x, outputs, tokens)


class DebertaClassificationHead(BertClassificationHead):
    """Dense, GELU, dense, as DebertaV2ForSequenceClassification: [N, D] → [N, C]."""

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(F.gelu(self.dense(first))))


DebertaConfig.compiled = (DebertaLayer, DebertaEmbeddings)
