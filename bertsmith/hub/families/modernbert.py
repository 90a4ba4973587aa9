"""ModernBERT's classes.

Source: transformers, models/modernbert/modeling_modernbert.py and configuration_modernbert.py.
"""

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import torch
from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family, Shape, has_any, with_parts
from bertsmith.storage.json_files import member

if TYPE_CHECKING:  # the room of training imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer

_MODULES = {
    "encoder.embeddings.token": "model.embeddings.tok_embeddings",
    "encoder.norm": "model.embeddings.norm",
    "encoder.final_norm": "model.final_norm",
}

_LAYER = {
    "attention_norm": "attn_norm",
    "attention.query_key_value": "attn.Wqkv",
    "attention.dense": "attn.Wo",
    "feed_forward_norm": "mlp_norm",
    "feed_forward.expand": "mlp.Wi",
    "feed_forward.contract": "mlp.Wo",
}


class ModernBert(Family):
    """ModernBERT's classes; layers and heads, but for the last, have no biases."""

    name, title, base_model_prefix = "modernbert", "ModernBERT", "model"
    config = ModernBertConfig
    classes: ClassVar = {
        "ModernBertForMaskedLM": "masked_tokens",
        "ModernBertForTokenClassification": "tagging",
        "ModernBertForSequenceClassification": "classification",
        "ModernBertForQuestionAnswering": "answering",
    }
    other_classes: ClassVar = {"ModernBertModel": None}
    tags_replaced = True
    class_by_prefix: ClassVar = {"decoder.": "ModernBertForMaskedLM", "head.": "ModernBertForMaskedLM"}
    names_pattern = r"(model\.)?(embeddings\.tok_embeddings\.|layers\.\d+\.(attn|mlp)\.|final_norm\.)"
    unique_suffixes = (".embeddings.tok_embeddings.weight", ".embeddings.norm.weight")
    inputs = ("input_ids", "attention_mask")
    tied_copies: ClassVar = {"decoder.weight": "model.embeddings.tok_embeddings.weight"}
    buffers = (
        r"model\.(?:layers\.\d+\.attn\.rotary_emb\.|rotary_emb\.(?:full|sliding)_attention_(?:original_)?)(inv_freq)"
    )
    required_values: ClassVar = {
        "hidden_activation": "gelu", "attention_bias": False, "mlp_bias": False, "norm_bias": False,
        "decoder_bias": True, "classifier_bias": False, "classifier_activation": "gelu", "is_decoder": False,
        "is_encoder_decoder": False, "rope_scaling": None, "tie_word_embeddings": True, "quantization_config": None,
    }  # fmt: skip
    relevant_heads: ClassVar = {
        "decoder_bias": ("masked_tokens",),
        "tie_word_embeddings": ("masked_tokens",),
        "classifier_bias": get_args(HeadName),
        "classifier_activation": get_args(HeadName),
    }
    defaults = (
        "global_attn_every_n_layers", "local_attention", "global_rope_theta", "local_rope_theta", "embedding_dropout",
        "attention_dropout", "mlp_dropout", "classifier_dropout", "initializer_range", "norm_eps", "classifier_pooling",
    )  # fmt: skip
    required_keys = ("num_attention_heads", "max_position_embeddings")

    def names(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, tuple[str, ...]]:
        modules = dict(_MODULES)
        for layer in range(settings.num_hidden_layers):
            modules |= {
                f"encoder.layers.{layer}.{ours}": f"model.layers.{layer}.{name}" for ours, name in _LAYER.items()
            }
        del modules["encoder.layers.0.attention_norm"]
        if head is not None:
            modules |= {"head.dense": "head.dense", "head.norm": "head.norm"}
        names: dict[str, tuple[str, ...]] = {
            f"{ours}.weight": (f"{module}.weight",) for ours, module in modules.items()
        }
        if head == "masked_tokens":
            names["head.bias"] = ("decoder.bias",)
        elif head is not None:
            names |= with_parts("head.output", ("classifier",))
        return names

    def normalized_name(self, name: str) -> str:
        return f"model.{name}" if name.startswith(("embeddings.", "layers.", "final_norm.", "rotary_emb.")) else name

    def infer_class(self, config: Mapping[str, Any], names: Collection[str], where: str) -> str:
        if has_any(names, "classifier."):
            raise self.ambiguous(where)
        return super().infer_class(config, names, where)

    def sizes(self, shape: Shape, where: str) -> tuple[dict[str, int], str, str]:
        vocab_size, hidden_size = shape("model.embeddings.tok_embeddings.weight")
        sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size}
        return sizes, r"model\.layers\.(\d+)\.", "model.layers.0.mlp.Wi.weight"

    def layer_sizes(self, rows: int, columns: int) -> dict[str, int]:
        return {"intermediate_size": rows // 2}  # two halves, of which one gates the other

    def describe(self, settings: EncoderConfig, head: HeadName | None) -> dict[str, Any]:
        assert not settings.projection_size
        config = {key: getattr(settings, key) for key in self.defaults}
        return config | {key: value for key, value in self.required_values.items() if value is not None}

    def token_ids(self, tokenizer: "Tokenizer") -> dict[str, int]:
        """Return the same as `Family.token_ids`; the defaults of ModernBERT's config are of another vocabulary."""
        ids = super().token_ids(tokenizer) | {f"{name}_token_id": tokenizer.cls_id for name in ("cls", "bos")}
        return ids | {f"{name}_token_id": tokenizer.sep_id for name in ("sep", "eos")}

    def check_network(self, config: Mapping[str, Any], where: str) -> None:
        window = member(config, "sliding_window", (int, type(None)), where, None)
        if window is not None and window * 2 != config.get("local_attention", 128):
            raise UserError(f"{where}: sliding_window = {window} is not half of local_attention; leave it out")

    def translated(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        """See `Family`; transformers 5 writes about ModernBERT's layers one by one."""
        layers: dict[str, Any] = {} if "classifier_dropout" in config else {"classifier_dropout": 0.0}
        kinds = member(config, "layer_types", (list, type(None)), where, None)
        ropes = member(config, "rope_parameters", (dict, type(None)), where, None) or {}
        if kinds is not None:
            if len(kinds) != num_layers:
                raise UserError(f"{where}: layer_types names {len(kinds)} layers, and the tensors are of {num_layers}")
            every = next((n for n in range(1, len(kinds)) if kinds[n] == "full_attention"), max(1, len(kinds)))
            if kinds != ["sliding_attention" if layer % every else "full_attention" for layer in range(len(kinds))]:
                raise UserError(
                    f"{where}: layer_types = {quoted(kinds)}; bertsmith's layers see the full row at regular intervals"
                )
            layers["global_attn_every_n_layers"] = every
        for kind, key in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
            rope = member(ropes, kind, (dict, type(None)), f"{where}: rope_parameters", None)
            if rope is None:
                continue
            place = f"{where}: rope_parameters.{kind}"
            if rope.get("rope_type", "default") != "default":
                raise UserError(
                    f"{place}: rope_type = {quoted(rope['rope_type'], 60)}; bertsmith's encoder knows only 'default'"
                )
            if other := sorted(rope.keys() - {"rope_type", "rope_theta"}):
                raise UserError(f"{place}: {quoted(other[0], 60)}, which bertsmith's encoder does not know")
            if "rope_theta" in rope:
                layers[key] = float(member(rope, "rope_theta", float, place))
        return layers

    def buffer(self, name: str, size: int, settings: EncoderConfig) -> tuple[Tensor, str]:
        if not name.endswith("inv_freq"):
            return super().buffer(name, size, settings)
        assert isinstance(settings, ModernBertConfig), name
        layer = re.search(r"layers\.(\d+)\.", name)
        is_global = settings.is_global(int(layer[1])) if layer else "full_attention" in name
        key = "global_rope_theta" if is_global else "local_rope_theta"
        theta, half = getattr(settings, key), settings.head_size // 2
        return theta ** (torch.arange(half, dtype=torch.float32) / -half), f"that of {key} = {theta:g}"
