"""What sits on an encoder: masked tokens, replaced tokens, one vector a row turned into classes, each into tags."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.config import BertConfig, EncoderSettings, ModernBertConfig
from bertsmith.encoders.initialization import initialize


class MaskedTokenHead(nn.Module):
    """What precedes the product with the token table, [M, D] → [M, E], and the bias behind it, [V].

    Source: google-research/electra, run_pretraining.py, _get_masked_lm_output.
    """

    def __init__(self, settings: BertConfig, vocab_size: int, input_size: int | None = None):
        """`input_size`: width of what comes in; left out, D."""
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

    def __init__(self, settings: BertConfig):
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.output = nn.Linear(settings.hidden_size, 1)
        self.apply(lambda module: initialize(module, settings.initializer_range))
        nn.init.xavier_uniform_(self.output.weight)  # the framework's default in the reference

    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(F.gelu(self.dense(vectors)))[:, 0]


class BertClassificationHead(nn.Module):
    """A tanh pooler and a dense layer, as Hugging Face's BertForSequenceClassification: [N, D] → [N, C]."""

    def __init__(self, settings: BertConfig, num_labels: int, dropout_prob: float = 0.1):
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(torch.tanh(self.dense(first))))


class ElectraClassificationHead(nn.Module):
    """Dense, GELU, dense, as Hugging Face's ElectraForSequenceClassification: [N, D] → [N, C]."""

    def __init__(self, settings: BertConfig, num_labels: int, dropout_prob: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout(dropout_prob)
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(F.gelu(self.dense(self.dropout(first)))))


class PlainClassificationHead(nn.Module):
    """One dense layer, as the reference fine-tunes: [N, D] → [N, C]. No Hugging Face class is like it.

    Source: google-research/electra, finetune/classification/classification_tasks.py and, without dropout,
    finetune/tagging/tagging_tasks.py, get_prediction_module.
    """

    def __init__(self, settings: BertConfig, num_labels: int, dropout_prob: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(first))


class TaggingHead(nn.Module):
    """One dense layer, as in Hugging Face's Bert- and ElectraForTokenClassification: [T, D] → [T, C]."""

    def __init__(self, settings: BertConfig, num_labels: int, dropout_prob: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(self.dropout(vectors))


class ModernHead(nn.Module):
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


class ModernMaskedTokenHead(ModernHead):
    """What precedes the product with the token table, [M, D] → [M, D], and the bias behind it, [V]."""

    def __init__(self, settings: ModernBertConfig, vocab_size: int):
        super().__init__(settings)
        self.bias = nn.Parameter(torch.zeros(vocab_size))


class ModernReplacedTokenHead(ModernHead):
    """That of ModernBertForTokenClassification with one label: [T, D] → [T] logits."""

    def __init__(self, settings: ModernBertConfig):
        super().__init__(settings)
        self.output = nn.Linear(settings.hidden_size, 1)
        initialize(self.output, settings.hidden_size**-0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(super().forward(vectors))[:, 0]


class ModernClassificationHead(ModernHead):
    """That of ModernBertForSequenceClassification, [N, D] → [N, C], and of ModernBertForTokenClassification."""

    def __init__(self, settings: ModernBertConfig, num_labels: int, dropout_prob: float = 0.1):
        super().__init__(settings)
        self.dropout = nn.Dropout(dropout_prob)
        self.output = nn.Linear(settings.hidden_size, num_labels)
        initialize(self.output, settings.hidden_size**-0.5)

    def forward(self, first: Tensor) -> Tensor:
        return self.output(self.dropout(super().forward(first)))


def masked_token_head(settings: EncoderSettings, vocab_size: int) -> nn.Module:
    kind = ModernMaskedTokenHead if isinstance(settings, ModernBertConfig) else MaskedTokenHead
    return kind(settings, vocab_size)


def replaced_token_head(settings: EncoderSettings) -> nn.Module:
    return (ModernReplacedTokenHead if isinstance(settings, ModernBertConfig) else ReplacedTokenHead)(settings)


CLASSIFICATION_HEADS = {
    "bert": BertClassificationHead, "electra": ElectraClassificationHead, "modernbert": ModernClassificationHead
}  # fmt: skip
"""By the family of Hugging Face's classes."""

TAGGING_HEADS = {"bert": TaggingHead, "electra": TaggingHead, "modernbert": ModernClassificationHead}
"""Likewise."""
