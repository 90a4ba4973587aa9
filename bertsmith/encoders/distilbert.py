"""DistilBERT's encoder: BERT's layers without segments and without dropout on attention's output, and its heads.

Source: DistilBERT, arXiv 1910.01108; transformers, models/distilbert/modeling_distilbert.py.
"""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.bert import BertClassificationHead, BertLayer, MaskedTokenHead, UnprojectedConfig
from bertsmith.encoders.config import CLASSIFIER_DROPOUT, TokenEmbeddings
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.tokens import Tokens


@settings
class DistilBertConfig(UnprojectedConfig):
    """DistilBERT's encoder; the defaults are its published size, 6 × 768."""

    kind: Literal["distilbert"] = setting("distilbert", "distilbert: DistilBERT's, BERT's layers without segments")
    hidden_size: int = setting(768, "width of the residual stream, D", ge=1)
    num_hidden_layers: int = setting(6, "transformer layers", ge=1)
    num_attention_heads: int | None = setting(None, "heads, H; left out: hidden_size / 64, at least 1", ge=1)
    intermediate_size: int | None = setting(None, "width of the feed-forward part; left out: 4 × hidden_size", ge=1)
    embedding_size: int | None = setting(None, "width of the embedding tables, E: hidden_size", ge=1)
    max_position_embeddings: int = setting(512, "longest row the model can hold, in tokens", ge=1)
    hidden_dropout_prob: float = setting(0.1, "dropout on embeddings and on the feed-forward part", ge=0, lt=1)
    attention_probs_dropout_prob: float = setting(0.1, "dropout on attention weights", ge=0, lt=1)
    classifier_dropout: float = setting(0.2, CLASSIFIER_DROPOUT, ge=0, lt=1)
    initializer_range: float = setting(0.02, "standard deviation of initial weights, cut at two of them", gt=0)

    layer_norm_eps: ClassVar[float] = 1e-12  # type: ignore[misc]  # no setting of DistilBERT

    @property
    def tagging_dropout(self) -> float:
        return self.hidden_dropout_prob

    @property
    def attention_output_dropout_prob(self) -> float:
        return 0.0

    def family(self, of_electra: bool = False) -> str:
        return "distilbert"

    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        return DistilBertEmbeddings(self, vocab_size)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        return DistilBertClassificationHead(self, num_labels)


class DistilBertEmbeddings(TokenEmbeddings):
    """The sum of token and position vectors, normalised: [T] ids → [T, D]."""

    def __init__(self, settings: DistilBertConfig, vocab_size: int):
        super().__init__()
        size = settings.hidden_size
        self.token = nn.Embedding(vocab_size, size)
        self.position = nn.Embedding(settings.max_position_embeddings, size)
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """Embed `tokens`; `base` [V, E] is added to the token table."""
        summed = self.token(tokens.ids) + self.position(tokens.positions)
        if base is not None:
            summed = summed + F.embedding(tokens.ids, base)
        return self.dropout(self.norm(summed))


class DistilBertClassificationHead(BertClassificationHead):
    """Dense, ReLU, dropout, dense, as Hugging Face's DistilBertForSequenceClassification: [N, D] → [N, C]."""

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(F.relu(self.dense(first))))


DistilBertConfig.compiled = (BertLayer, MaskedTokenHead, DistilBertEmbeddings)
