"""DeBERTa's classes of the second version, whose networks DeBERTaV3's are too.

transformers has one class for masked tokens with two names for the same head: "legacy" or not. Both are read, and the
legacy one, which takes projected embeddings too, is written. It never runs the enhanced mask decoder of DeBERTa's paper
(its `z_steps` is 0), and has no class for DeBERTaV3's replaced tokens: a discriminator of ours is a
DebertaV2ForTokenClassification with one label.

Source: transformers, models/deberta_v2/modeling_deberta_v2.py and configuration_deberta_v2.py.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family, Shape, counting, with_parts
from bertsmith.storage.json_files import member

_LAYER = {
    "attention.query_key_value": ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
    "attention.dense": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "feed_forward.expand": ("intermediate.dense",),
    "feed_forward.contract": ("output.dense",),
    "feed_forward_norm": ("output.LayerNorm",),
}

_OWN_PROJECTIONS = {
    "c2p": ("attention.distance_key", "attention.self.pos_key_proj"),
    "p2c": ("attention.distance_query", "attention.self.pos_query_proj"),
}

_HEADS: dict[HeadName, dict[str, str]] = {
    "masked_tokens": {
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    },
    "replaced_tokens": {"head.output": "classifier"},
    "classification": {"head.dense": "pooler.dense", "head.output": "classifier"},
    "tagging": {"head.output": "classifier"},
    "answering": {"head.output": "qa_outputs"},
}

_ABSENT = {
    "position_biased_input": True, "share_att_key": False, "type_vocab_size": 0, "conv_kernel_size": 0,
    "conv_groups": 1, "conv_act": "tanh",
}  # fmt: skip
"""What transformers takes where config.json has no such key, unlike our settings."""


class DebertaV2(Family):
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
    tied_copies: ClassVar = {
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    buffers = r"deberta\.embeddings\.(position_ids)"
    dropped: ClassVar = {
        "mask_predictions.": "replaced-token head",
        "cls.predictions.": "masked-token head",
        "deberta.embeddings.position_embeddings.": "positions of a mask decoder",
    }
    required_values: ClassVar = {
        "hidden_act": "gelu", "pooler_hidden_act": "gelu", "is_decoder": False, "add_cross_attention": False,
        "is_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {}, "quantization_config": None,
    }  # fmt: skip
    relevant_heads: ClassVar = {"pooler_hidden_act": ("classification",)}
    defaults = (
        "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps", "embedding_size",
        "pos_att_type", "position_buckets", "max_relative_positions", "norm_rel_ebd", *_ABSENT,
    )  # fmt: skip
    required_keys = ("num_attention_heads", "max_position_embeddings")

    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        assert isinstance(settings, DebertaConfig)
        tables = {"embeddings.token": "embeddings.word_embeddings"}
        tables |= {"embeddings.position": "embeddings.position_embeddings"} if settings.position_biased_input else {}
        tables |= {"embeddings.segment": "embeddings.token_type_embeddings"} if settings.type_vocab_size else {}
        tables |= {"projection": "embeddings.embed_proj"} if settings.projection_size else {}
        tables |= {"distances.table": "encoder.rel_embeddings"} if settings.pos_att_type else {}
        names: dict[str, tuple[str, ...]] = {
            f"encoder.{ours}.weight": (f"deberta.{name}.weight",) for ours, name in tables.items()
        }
        names |= with_parts("encoder.norm", ("deberta.embeddings.LayerNorm",))
        if settings.pos_att_type and settings.norm_rel_ebd == "layer_norm":
            names |= with_parts("encoder.distances.norm", ("deberta.encoder.LayerNorm",))
        if settings.conv_kernel_size:
            names |= with_parts("encoder.layers.0.convolution.convolution", ("deberta.encoder.conv.conv",))
            names |= with_parts("encoder.layers.0.convolution.norm", ("deberta.encoder.conv.LayerNorm",))
        own = () if settings.share_att_key else settings.pos_att_type
        layer = _LAYER | {ours: (name,) for ours, name in (_OWN_PROJECTIONS[term] for term in own)}
        for index in range(settings.num_hidden_layers):
            for ours, parts in layer.items():
                prefix = f"deberta.encoder.layer.{index}"
                names |= with_parts(f"encoder.layers.{index}.{ours}", tuple(f"{prefix}.{part}" for part in parts))
        for ours, name in _HEADS[head].items() if head is not None else ():
            names |= with_parts(ours, (name,))
        return names | ({"head.bias": ("cls.predictions.bias",)} if head == "masked_tokens" else {})

    def normalized_name(self, name: str) -> str:
        if name.startswith(("embeddings.", "encoder.")):
            return f"deberta.{name}"
        if name == "lm_predictions.lm_head.bias":
            return "cls.predictions.bias"
        return name.replace("lm_predictions.lm_head.", "cls.predictions.transform.", 1)

    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        vocab_size, _ = shape("deberta.embeddings.word_embeddings.weight")
        expand = "deberta.encoder.layer.0.intermediate.dense.weight"
        return {"vocab_size": vocab_size}, r"deberta\.encoder\.layer\.(\d+)\.", expand

    def layer_sizes(self, rows: int, columns: int) -> dict[str, int]:
        return {"intermediate_size": rows, "hidden_size": columns}

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        assert isinstance(settings, DebertaConfig)
        config = {key: getattr(settings, key) for key in self.defaults}
        config |= {
            "relative_attention": bool(settings.pos_att_type),
            "pos_att_type": list(settings.pos_att_type),
            "position_buckets": settings.position_buckets or -1,
            "max_relative_positions": settings.max_relative_positions or -1,
            "norm_rel_ebd": settings.norm_rel_ebd if settings.pos_att_type else "none",
            "embedding_size": settings.embedding,
            "legacy": True,
        }
        written = ("hidden_act", "pooler_hidden_act", "tie_word_embeddings")
        return config | {key: self.required_values[key] for key in written}

    def inputs_of(self, settings: EncoderConfig) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if name != "token_type_ids" or settings.num_segments)

    def recognises(self, config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> bool:
        """See `Family`; the first DeBERTa's names begin alike."""
        is_first = any(".attention.self.in_proj." in name for name in names)
        return not is_first and super().recognises(config, names)

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

    def per_layer(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        """Return the settings that transformers writes otherwise, or takes otherwise where config.json is silent."""
        buckets, longest = (member(config, key, (int, type(None)), where, None) or 0
                            for key in ("position_buckets", "max_relative_positions"))  # fmt: skip
        norms = member(config, "norm_rel_ebd", (str, type(None)), where, None) or "none"
        return {key: value for key, value in _ABSENT.items() if config.get(key) is None} | {
            "pos_att_type": _terms(config, where),
            "position_buckets": max(0, buckets),
            "max_relative_positions": longest if longest > 0 else None,
            "norm_rel_ebd": "layer_norm" if "layer_norm" in norms.lower().replace(" ", "").split("|") else "none",
            "embedding_size": config.get("embedding_size"),
        }

    def buffer(self, name: str, size: int, settings: EncoderConfig) -> tuple[Tensor, str]:
        return counting(size)


def _terms(config: Mapping[str, Any], where: str) -> list[str]:
    """Return the scores of distances that config.json names, in a text or a list."""
    terms = member(config, "pos_att_type", (str, list, type(None)), where, None) or []
    return [term.strip() for term in terms.lower().split("|")] if isinstance(terms, str) else terms
