"""DeBERTa's classes of the second version, whose networks DeBERTaV3's are too.

transformers has one class for masked tokens with two names for the same head: "legacy" or not. Both are read, and the
legacy one, which takes projected embeddings too, is written. It never runs the enhanced mask decoder of DeBERTa's paper
(its `z_steps` is 0): of a model with one the encoder is written. It has no class for DeBERTaV3's replaced tokens: a
discriminator of ours is a DebertaV2ForTokenClassification with one label.

Source: transformers, models/deberta_v2/modeling_deberta_v2.py and configuration_deberta_v2.py.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Shape, has_any, with_parts
from bertsmith.hub.post_norm import BERT_MASKED_HEAD, TOKEN_HEADS, PostNormFamily
from bertsmith.storage.json_files import member

_OWN_PROJECTIONS = {
    "c2p": ("attention.distance_key", "attention.self.pos_key_proj"),
    "p2c": ("attention.distance_query", "attention.self.pos_query_proj"),
}

_ABSENT = {
    "position_biased_input": True, "share_att_key": False, "type_vocab_size": 0, "conv_kernel_size": 0,
    "conv_groups": 1, "conv_act": "tanh",
}  # fmt: skip
"""What transformers takes where config.json has no such key, unlike our settings."""


class DebertaV2(PostNormFamily):
    """DeBERTa's classes, of its second and third version."""

    name, title, base_model_prefix = "deberta-v2", "DeBERTa (v2, v3)", "deberta"
    config = DebertaConfig
    tags_replaced = True
    classes: ClassVar = {
        "DebertaV2ForMaskedLM": "masked_tokens",
        "DebertaV2ForSequenceClassification": "classification",
        "DebertaV2ForTokenClassification": "tagging",
        "DebertaV2ForQuestionAnswering": "answering",
    }
    other_classes: ClassVar = {"DebertaV2Model": None}
    class_by_prefix: ClassVar = {
        "qa_outputs.": "DebertaV2ForQuestionAnswering",
        "pooler.": "DebertaV2ForSequenceClassification",
        "classifier.": "DebertaV2ForTokenClassification",
        "mask_predictions.": "DebertaV2Model",  # the published discriminators, with a generator's head beside theirs
        "lm_predictions.": "DebertaV2ForMaskedLM",
        "cls.": "DebertaV2ForMaskedLM",
    }
    names_pattern = (
        r"deberta\.|lm_predictions\.|mask_predictions\.|"
        r"encoder\.(rel_embeddings\.|layer\.\d+\.attention\.self\.query_proj\.)"
    )
    unique_suffixes = (".embeddings.word_embeddings.weight",)
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    embedding_norm = "encoder.norm"
    layer: ClassVar = {
        **PostNormFamily.layer,
        "attention.query_key_value": tuple(f"attention.self.{part}_proj" for part in ("query", "key", "value")),
    }
    heads: ClassVar = {
        "masked_tokens": BERT_MASKED_HEAD,
        "replaced_tokens": TOKEN_HEADS["tagging"],
        "classification": {"head.dense": "pooler.dense", "head.output": "classifier"},
        **TOKEN_HEADS,
    }
    output_bias = "cls.predictions.bias"
    tied_copies: ClassVar = {
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    dropped: ClassVar = {
        "mask_predictions.": "replaced-token head",
        "cls.predictions.": "masked-token head",
        "deberta.embeddings.position_embeddings.": "positions of a mask decoder",
    }
    required_values: ClassVar = {
        "hidden_act": "gelu", "pooler_hidden_act": "gelu", "is_decoder": False, "add_cross_attention": False,
        "is_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {}, "quantization_config": None,
    }  # fmt: skip
    relevant_heads: ClassVar = {**PostNormFamily.relevant_heads, "pooler_hidden_act": ("classification",)}
    written = ("hidden_act", "pooler_hidden_act", "tie_word_embeddings")
    defaults = (
        *PostNormFamily.defaults, "embedding_size", "pos_att_type", "position_buckets", "max_relative_positions",
        "norm_rel_ebd", *_ABSENT,
    )  # fmt: skip
    config_keys: ClassVar = {"classifier_dropout": "cls_dropout"}
    unread_values: ClassVar = {"pooler_dropout": (0, "a pooler has no dropout before it here")}
    required_keys = ("num_attention_heads", "max_position_embeddings")

    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        """Return the names of those tensors that an encoder with such settings has."""
        assert isinstance(settings, DebertaConfig)
        tables = {"position": settings.position_biased_input, "segment": settings.type_vocab_size}
        absent = tuple(f"encoder.embeddings.{table}." for table, is_there in tables.items() if not is_there)
        names = super().names(settings, head)
        return {ours: group for ours, group in names.items() if not ours.startswith(absent)}

    def further_names(self, settings: EncoderConfig) -> dict[str, tuple[str, ...]]:
        assert isinstance(settings, DebertaConfig)
        root, names = self.base_model_prefix, dict[str, tuple[str, ...]]()
        if settings.projection_size:
            names["encoder.projection.weight"] = (f"{root}.embeddings.embed_proj.weight",)
        if settings.pos_att_type:
            names["encoder.distances.table.weight"] = (f"{root}.encoder.rel_embeddings.weight",)
            if settings.norm_rel_ebd == "layer_norm":
                names |= with_parts("encoder.distances.norm", (f"{root}.encoder.LayerNorm",))
        if settings.conv_kernel_size:
            for ours, name in (("convolution", "conv"), ("norm", "LayerNorm")):
                names |= with_parts(f"encoder.layers.0.convolution.{ours}", (f"{root}.encoder.conv.{name}",))
        for term in () if settings.share_att_key else settings.pos_att_type:
            ours, name = _OWN_PROJECTIONS[term]
            for index in range(settings.num_hidden_layers):
                names |= with_parts(f"encoder.layers.{index}.{ours}", (f"{root}.{self.layers}.{index}.{name}",))
        return names

    def normalized_name(self, name: str) -> str:
        if name.startswith("pooler."):
            return name  # outside of the encoder
        name = super().normalized_name(f"{self.base_model_prefix}.{name}" if name.startswith("encoder.") else name)
        if name == "lm_predictions.lm_head.bias":
            return self.output_bias
        return name.replace("lm_predictions.lm_head.", "cls.predictions.transform.", 1)

    def infer_class(self, config: Mapping[str, Any], names: Collection[str], where: str) -> str:
        """See `Family`; a pooler without a classifier is left over from one."""
        has_classifier = has_any(names, "classifier.")
        own = [name for name in names if has_classifier or not name.startswith("pooler.")]
        return super().infer_class(config, own, where)

    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        vocab_size, _ = shape(f"{self.base_model_prefix}.embeddings.word_embeddings.weight")
        layers = f"{self.base_model_prefix}.{self.layers}"
        return {"vocab_size": vocab_size}, rf"{re.escape(layers)}\.(\d+)\.", f"{layers}.0.intermediate.dense.weight"

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        assert isinstance(settings, DebertaConfig)
        config = {self.key(name): getattr(settings, name) for name in self.defaults}
        config |= {
            "relative_attention": bool(settings.pos_att_type),
            "pos_att_type": list(settings.pos_att_type),
            "position_buckets": settings.position_buckets or -1,
            "max_relative_positions": settings.max_relative_positions or -1,
            "norm_rel_ebd": settings.norm_rel_ebd if settings.pos_att_type else "none",
            "embedding_size": settings.embedding,
            "legacy": True,
        }
        return config | {key: self.required_values[key] for key in self.written}

    def check_network(self, config: Mapping[str, Any], where: str) -> None:
        is_relative = member(config, "relative_attention", bool, where, False)
        if is_relative != bool(_terms(config, where)):
            raise UserError(
                f"{where}: relative_attention = {is_relative} with pos_att_type = "
                f"{quoted(config.get('pos_att_type'), 60)}; bertsmith's encoder knows both or neither"
            )
        width, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if isinstance(width, int) and isinstance(heads, int) and heads > 0:
            for key, value in (("attention_head_size", width // heads), ("pooler_hidden_size", width)):
                if config.get(key, value) != value:
                    raise UserError(f"{where}: {key} = {quoted(config[key], 60)}; bertsmith's encoder has {value}")

    def translated(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        buckets, longest = (member(config, key, (int, type(None)), where, None) or 0
                            for key in ("position_buckets", "max_relative_positions"))  # fmt: skip
        norms = member(config, "norm_rel_ebd", (str, type(None)), where, None) or "none"
        absent = {key: value for key, value in _ABSENT.items() if config.get(key) is None}
        return (
            super().translated(config, num_layers, where)
            | absent
            | {
                "pos_att_type": _terms(config, where),
                "position_buckets": max(0, buckets),
                "max_relative_positions": longest if longest > 0 else None,
                "norm_rel_ebd": "layer_norm" if "layer_norm" in norms.lower().replace(" ", "").split("|") else "none",
                "embedding_size": config.get("embedding_size"),
            }
        )


def _terms(config: Mapping[str, Any], where: str) -> list[str]:
    """Return the scores of distances that config.json names, in a text or a list."""
    terms = member(config, "pos_att_type", (str, list, type(None)), where, None) or []
    return [term.strip() for term in terms.lower().split("|")] if isinstance(terms, str) else terms
