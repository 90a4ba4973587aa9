"""BERT's and ELECTRA's classes, of one encoder.

Source: transformers, models/bert/modeling_bert.py and models/electra/modeling_electra.py.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.hub.family import has_any
from bertsmith.hub.post_norm import BERT_MASKED_HEAD, TOKEN_HEADS, PostNormFamily


class _BertLike(PostNormFamily):
    """The base of both families."""

    config = BertConfig

    def __init__(self) -> None:
        self.base_model_prefix = self.name


class Bert(_BertLike):
    """BERT's classes, which know no projection of embeddings, and no replaced tokens."""

    name, title = "bert", "BERT"
    is_unprojected = True
    classes: ClassVar = {
        "BertForMaskedLM": "masked_tokens",
        "BertForSequenceClassification": "classification",
        "BertForTokenClassification": "tagging",
        "BertForQuestionAnswering": "answering",
    }
    other_classes: ClassVar = {"BertModel": None, "BertForPreTraining": "masked_tokens"}
    class_by_prefix: ClassVar = {
        "qa_outputs.": "BertForQuestionAnswering",
        "cls.predictions.": "BertForMaskedLM",
        "classifier.": "BertForTokenClassification",
    }
    names_pattern = r"bert\.|cls\.|(embeddings\.word_embeddings\.)|(encoder\.layer\.\d+\.attention\.self\.)"
    shares_names = True  # a bare BertModel's names are a bare ElectraModel's too
    heads: ClassVar = {
        "masked_tokens": BERT_MASKED_HEAD,
        "classification": {"head.dense": "bert.pooler.dense", "head.output": "classifier"},
        **TOKEN_HEADS,
    }
    output_bias = "cls.predictions.bias"
    tied_copies: ClassVar = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    pooler: ClassVar = {"head.dense.weight": "bert.pooler.dense.weight", "head.dense.bias": "bert.pooler.dense.bias"}
    dropped: ClassVar = {"cls.seq_relationship.": "next-sentence head"}

    def infer_class(self, config: Mapping[str, Any], names: Collection[str], where: str) -> str:
        name = super().infer_class(config, names, where)
        if name == "BertForMaskedLM" and has_any(names, "cls.seq_relationship."):
            return "BertForPreTraining"
        if name != "BertForTokenClassification" or not has_any(names, "bert.pooler.", "pooler."):
            return name
        if config.get("problem_type") is None:
            raise self.ambiguous(where)  # the oldest taggers carry a pooler too
        return "BertForSequenceClassification"


class Electra(_BertLike):
    """ELECTRA's classes, which hold both of its networks."""

    name, title = "electra", "ELECTRA"
    classes: ClassVar = {
        "ElectraForMaskedLM": "masked_tokens",
        "ElectraForPreTraining": "replaced_tokens",
        "ElectraForSequenceClassification": "classification",
        "ElectraForTokenClassification": "tagging",
        "ElectraForQuestionAnswering": "answering",
    }
    other_classes: ClassVar = {"ElectraModel": None}
    class_by_prefix: ClassVar = {
        "qa_outputs.": "ElectraForQuestionAnswering",
        "classifier.out_proj.": "ElectraForSequenceClassification",
        "classifier.": "ElectraForTokenClassification",
        "discriminator_predictions.": "ElectraForPreTraining",
        "generator_predictions.": "ElectraForMaskedLM",
        "generator_lm_head.": "ElectraForMaskedLM",
    }
    names_pattern = r"electra\.|generator_(predictions|lm_head)\.|discriminator_predictions\.|embeddings_project\."
    heads: ClassVar = {
        "masked_tokens": {"head.dense": "generator_predictions.dense", "head.norm": "generator_predictions.LayerNorm"},
        "replaced_tokens": {
            "head.dense": "discriminator_predictions.dense",
            "head.output": "discriminator_predictions.dense_prediction",
        },
        "classification": {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"},
        **TOKEN_HEADS,
    }
    output_bias = "generator_lm_head.bias"
    tied_copies: ClassVar = {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"}
    dropped: ClassVar = {"discriminator_predictions.": "replaced-token head"}  # beside another head

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        return super().describe(settings, head) | {"embedding_size": settings.embedding}
