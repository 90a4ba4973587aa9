"""BERT's and ELECTRA's classes, of one encoder.

Source: transformers, models/bert/modeling_bert.py and models/electra/modeling_electra.py.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError
from bertsmith.hub.family import Family, Shape, counting, has_any, with_parts

_LAYER = {
    "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.dense": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "feed_forward.expand": ("intermediate.dense",),
    "feed_forward.contract": ("output.dense",),
    "feed_forward_norm": ("output.LayerNorm",),
}

_TABLES = {
    "word_embeddings": ("token", ("vocab_size", "embedding_size")),
    "position_embeddings": ("position", ("max_position_embeddings",)),
    "token_type_embeddings": ("segment", ("type_vocab_size",)),
}
"""Of the embeddings: our name, and the sizes that a table's shape shows."""

_TOKEN_HEADS: dict[HeadName, dict[str, str]] = {
    "tagging": {"head.output": "classifier"}, "answering": {"head.output": "qa_outputs"},
}  # fmt: skip

_ROBERTA_POSITIONS = (514, 1026, 2050, 4098)
"""Two more than BERT's, for which RoBERTa's begin at 2."""


class _BertLike(Family):
    """The base of both families."""

    config = BertConfig
    unique_suffixes = (".embeddings.word_embeddings.weight", ".embeddings.position_embeddings.weight")
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    required_values: ClassVar = {
        "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
        "is_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {}, "quantization_config": None,
    }  # fmt: skip
    defaults = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps")
    heads: ClassVar[Mapping[HeadName, Mapping[str, str]]]
    """Our names of a head's modules → its names."""
    output_bias: str

    def __init__(self) -> None:
        self.base_model_prefix = self.name
        self.buffers = rf"{self.name}\.embeddings\.(position_ids|token_type_ids)"

    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        names: dict[str, tuple[str, ...]] = {
            f"encoder.embeddings.{ours}.weight": (f"{self.name}.embeddings.{parts}.weight",)
            for parts, (ours, _) in _TABLES.items()
        }
        names |= with_parts("encoder.embeddings.norm", (f"{self.name}.embeddings.LayerNorm",))
        if settings.projection_size:
            names |= with_parts("encoder.projection", (f"{self.name}.embeddings_project",))
        for layer in range(settings.num_hidden_layers):
            for ours, parts in _LAYER.items():
                prefix = f"{self.name}.encoder.layer.{layer}"
                names |= with_parts(f"encoder.layers.{layer}.{ours}", tuple(f"{prefix}.{part}" for part in parts))
        for ours, name in self.heads[head].items() if head is not None else ():
            names |= with_parts(ours, (name,))
        return names | ({"head.bias": (self.output_bias,)} if head == "masked_tokens" else {})

    def normalized_name(self, name: str) -> str:
        """Return the same as `Family.normalized_name`; BERT's first checkpoints call a norm's weight and bias gamma and
        beta."""
        if name.startswith(("embeddings.", "embeddings_project.", "encoder.", "pooler.")):
            name = f"{self.name}.{name}"
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.endswith(f"LayerNorm.{old}"):
                return name.removesuffix(old) + new
        return name

    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        sizes: dict[str, int] = {}
        for table, (_, keys) in _TABLES.items():
            sizes |= dict(zip(keys, shape(f"{self.name}.embeddings.{table}.weight"), strict=False))
        layer = f"{self.name}.encoder.layer.0.intermediate.dense.weight"
        return sizes, rf"{self.name}\.encoder\.layer\.(\d+)\.", layer

    def layer_sizes(self, rows: int, columns: int) -> dict[str, int]:
        return {"intermediate_size": rows, "hidden_size": columns}

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        written = ("hidden_act", "position_embedding_type", "tie_word_embeddings")
        config = {key: getattr(settings, key) for key in ("type_vocab_size", *self.defaults)}
        return config | {key: self.required_values[key] for key in written}

    def buffer(self, name: str, size: int, settings: EncoderConfig) -> tuple[Tensor, str]:
        return counting(size) if name.endswith("position_ids") else (torch.zeros(size), "all 0")


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
        "masked_tokens": {
            "head.dense": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
        },
        "classification": {"head.dense": "bert.pooler.dense", "head.output": "classifier"},
        **_TOKEN_HEADS,
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

    def check_recognised(self, config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> None:
        positions = names.get("embeddings.position_embeddings.weight", (0,))[:1]
        if positions and (positions[0] in _ROBERTA_POSITIONS or config.get("pad_token_id") == 1):
            raise UserError(
                f"{where}: no model_type, and by its {positions[0]} positions or pad_token_id it may be a RoBERTa, "
                f'whose tensors have BERT\'s names; add "model_type"'
            )


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
        **_TOKEN_HEADS,
    }
    output_bias = "generator_lm_head.bias"
    tied_copies: ClassVar = {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"}
    dropped: ClassVar = {"discriminator_predictions.": "replaced-token head"}  # beside another head

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        return super().describe(settings, head) | {"embedding_size": settings.embedding}
