"""RoBERTa's encoder, which XLM-RoBERTa and CamemBERT have too: BERT's, with one segment for all tokens; its heads.

Positions count from 0 here as everywhere. That Hugging Face's count from behind the padding id is a matter of its files
(`hub/families/roberta.py`).

Source: RoBERTa, arXiv 1907.11692; transformers, models/roberta/modeling_roberta.py.
"""

from typing import Literal

from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.bert import (
    BertClassificationHead,
    BertEmbeddings,
    BertLayer,
    MaskedTokenHead,
    UnprojectedConfig,
)
from bertsmith.encoders.config import CLASSIFIER_DROPOUT, TokenEmbeddings
from bertsmith.encoders.tokens import Tokens


@settings
class RobertaConfig(UnprojectedConfig):
    """RoBERTa's encoder; the defaults are its base size, 12 × 768."""

    kind: Literal["roberta"] = setting("roberta", "roberta: RoBERTa's, XLM-RoBERTa's and CamemBERT's, without segments")
    model_type: Literal["roberta", "xlm-roberta", "camembert"] = setting(
        "roberta", "whose Hugging Face classes an export has; the network is the same"
    )
    hidden_size: int = setting(768, "width of the residual stream, D", ge=1)
    num_hidden_layers: int = setting(12, "transformer layers", ge=1)
    num_attention_heads: int | None = setting(None, "heads, H; left out: hidden_size / 64, at least 1", ge=1)
    intermediate_size: int | None = setting(None, "width of the feed-forward part; left out: 4 × hidden_size", ge=1)
    embedding_size: int | None = setting(None, "width of the embedding tables, E: hidden_size", ge=1)
    max_position_embeddings: int = setting(
        512, "longest row the model can hold, in tokens; config.json counts as many more as padding's id says", ge=1
    )
    type_vocab_size: int = setting(1, "rows of the segment table; all tokens take the first", ge=1)
    hidden_dropout_prob: float = setting(0.1, "dropout on embeddings and on each part's output", ge=0, lt=1)
    attention_probs_dropout_prob: float = setting(0.1, "dropout on attention weights", ge=0, lt=1)
    classifier_dropout: float = setting(0.1, CLASSIFIER_DROPOUT, ge=0, lt=1)
    initializer_range: float = setting(0.02, "standard deviation of initial weights, cut at two of them", gt=0)
    layer_norm_eps: float = setting(1e-5, "added to the variance in layer norms", gt=0)

    def family(self, of_electra: bool = False) -> str:
        return self.model_type

    def build_embeddings(self, vocab_size: int) -> TokenEmbeddings:
        return RobertaEmbeddings(self, vocab_size, self.type_vocab_size)

    def classification_head(self, num_labels: int, family: str) -> nn.Module:
        return RobertaClassificationHead(self, num_labels)


class RobertaEmbeddings(BertEmbeddings):
    """The sum of token and position vectors and of the first segment's, normalised: [T] ids → [T, D]."""

    def segment_vectors(self, tokens: Tokens) -> Tensor:
        return self.segment.weight[0]


class RobertaClassificationHead(BertClassificationHead):
    """Dropout, dense, tanh, dropout, dense, as Hugging Face's RobertaForSequenceClassification: [N, D] → [N, C]."""

    def forward(self, first: Tensor) -> Tensor:
        return super().forward(self.dropout(first))


RobertaConfig.compiled = (BertLayer, MaskedTokenHead, RobertaEmbeddings)
