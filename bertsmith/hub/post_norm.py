"""The base of families whose encoder has BERT's layers: their tensors' names, which differ in a few tables."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.hub.family import Family, Shape, with_parts

TOKEN_HEADS: dict[HeadName, dict[str, str]] = {
    "tagging": {"head.output": "classifier"}, "answering": {"head.output": "qa_outputs"},
}  # fmt: skip

BERT_MASKED_HEAD = {
    "head.dense": "cls.predictions.transform.dense", "head.norm": "cls.predictions.transform.LayerNorm",
}  # fmt: skip


class PostNormFamily(Family):
    """A family of BERT's names, unless its class says others."""

    unique_suffixes: tuple[str, ...] = (".embeddings.word_embeddings.weight", ".embeddings.position_embeddings.weight")
    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    required_values: ClassVar = {
        "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
        "is_encoder_decoder": False, "tie_word_embeddings": True, "pruned_heads": {}, "quantization_config": None,
    }  # fmt: skip
    relevant_heads: ClassVar[Mapping[str, tuple[HeadName, ...]]] = {"tie_word_embeddings": ("masked_tokens",)}
    written: tuple[str, ...] = ("hidden_act", "position_embedding_type", "tie_word_embeddings")
    """The keys of `required_values` that config.json gets."""
    defaults: tuple[str, ...] = (
        "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "initializer_range",
        "layer_norm_eps",
    )  # fmt: skip
    tables: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "word_embeddings": ("token", ("vocab_size", "embedding_size")),
        "position_embeddings": ("position", ("max_position_embeddings",)),
        "token_type_embeddings": ("segment", ("type_vocab_size",)),
    }
    """Of the embeddings: our name, and the sizes that a table's shape shows."""
    embedding_norm: str = "encoder.embeddings.norm"
    """Our name of the norm of embeddings."""
    layers: str = "encoder.layer"
    """The name of the layers' list in the encoder."""
    layer: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.dense": ("attention.output.dense",),
        "attention_norm": ("attention.output.LayerNorm",),
        "feed_forward.expand": ("intermediate.dense",),
        "feed_forward.contract": ("output.dense",),
        "feed_forward_norm": ("output.LayerNorm",),
    }
    """Our names of a layer's modules → its names."""
    heads: ClassVar[Mapping[HeadName, Mapping[str, str]]]
    """Our names of a head's modules → its names."""
    output_bias: str

    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        root = self.base_model_prefix
        names: dict[str, tuple[str, ...]] = {
            f"encoder.embeddings.{ours}.weight": (f"{root}.embeddings.{parts}.weight",)
            for parts, (ours, _) in self.tables.items()
        }
        names |= with_parts(self.embedding_norm, (f"{root}.embeddings.LayerNorm",))
        names |= self.further_names(settings)
        for index in range(settings.num_hidden_layers):
            for ours, parts in self.layer.items():
                prefix = f"{root}.{self.layers}.{index}"
                names |= with_parts(f"encoder.layers.{index}.{ours}", tuple(f"{prefix}.{part}" for part in parts))
        for ours, name in self.heads[head].items() if head is not None else ():
            names |= with_parts(ours, (name,))
        return names | ({"head.bias": (self.output_bias,)} if head == "masked_tokens" else {})

    def further_names(self, settings: EncoderConfig) -> dict[str, tuple[str, ...]]:
        """Return the names of the encoder's tensors besides tables, their norm and layers; of a projection here."""
        if not settings.projection_size:
            return {}
        return with_parts("encoder.projection", (f"{self.base_model_prefix}.embeddings_project",))

    def normalized_name(self, name: str) -> str:
        """Return the same as `Family.normalized_name`; BERT's first checkpoints call a norm's weight and bias gamma and
        beta."""
        if name.startswith(("embeddings.", "embeddings_project.", f"{self.layers}.", "pooler.")):
            name = f"{self.base_model_prefix}.{name}"
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.lower().endswith(f"norm.{old}"):
                return name.removesuffix(old) + new
        return name

    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        root, sizes = self.base_model_prefix, dict[str, int]()
        for table, (_, keys) in self.tables.items():
            sizes |= dict(zip(keys, shape(f"{root}.embeddings.{table}.weight"), strict=False))
        layers = f"{root}.{self.layers}"
        [expand] = self.layer["feed_forward.expand"]
        return sizes, rf"{re.escape(layers)}\.(\d+)\.", f"{layers}.0.{expand}.weight"

    def layer_sizes(self, rows: int, columns: int) -> dict[str, int]:
        return {"intermediate_size": rows, "hidden_size": columns}

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        shown = [key for _, keys in self.tables.values() for key in keys if key == "type_vocab_size"]
        own = {self.key(name): getattr(settings, name) for name in (*shown, *self.defaults)}
        return own | {key: self.required_values[key] for key in self.written}

    def translated(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        key = self.key("classifier_dropout")
        return {key: config.get("hidden_dropout_prob", 0.1)} if config.get(key) is None else {}
