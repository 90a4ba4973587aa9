"""DistilBERT's classes.

Source: transformers, models/distilbert/modeling_distilbert.py and configuration_distilbert.py.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from bertsmith.encoders.distilbert import DistilBertConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.post_norm import TOKEN_HEADS, PostNormFamily


class DistilBert(PostNormFamily):
    """DistilBERT's classes, whose sizes have names of their own in config.json."""

    name, title, base_model_prefix = "distilbert", "DistilBERT", "distilbert"
    config = DistilBertConfig
    is_unprojected = True
    tags_replaced = True
    classes: ClassVar = {
        "DistilBertForMaskedLM": "masked_tokens",
        "DistilBertForSequenceClassification": "classification",
        "DistilBertForTokenClassification": "tagging",
        "DistilBertForQuestionAnswering": "answering",
    }
    other_classes: ClassVar = {"DistilBertModel": None}
    class_by_prefix: ClassVar = {
        "qa_outputs.": "DistilBertForQuestionAnswering",
        "vocab_": "DistilBertForMaskedLM",
        "pre_classifier.": "DistilBertForSequenceClassification",
        "classifier.": "DistilBertForTokenClassification",
    }
    names_pattern = (
        r"distilbert\.|vocab_(transform|layer_norm|projector)\.|pre_classifier\."
        r"|transformer\.layer\.\d+\.(attention\.(q|k|v|out)_lin|sa_layer_norm|ffn|output_layer_norm)\."
    )
    inputs = ("input_ids", "attention_mask")
    required_values: ClassVar = {
        "activation": "gelu", "is_decoder": False, "is_encoder_decoder": False, "tie_word_embeddings": True,
        "pruned_heads": {}, "quantization_config": None,
    }  # fmt: skip
    written = ("activation", "tie_word_embeddings")
    defaults = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "initializer_range")
    unread_values: ClassVar = {"qa_dropout": (0.1, "a head for answers has no dropout of its own here")}
    config_keys: ClassVar = {
        "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim", "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout", "classifier_dropout": "seq_classif_dropout",
    }  # fmt: skip
    tables: ClassVar = {name: PostNormFamily.tables[name] for name in ("word_embeddings", "position_embeddings")}
    layers = "transformer.layer"
    layer: ClassVar = {
        "attention.query_key_value": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "attention.dense": ("attention.out_lin",),
        "attention_norm": ("sa_layer_norm",),
        "feed_forward.expand": ("ffn.lin1",),
        "feed_forward.contract": ("ffn.lin2",),
        "feed_forward_norm": ("output_layer_norm",),
    }
    heads: ClassVar = {
        "masked_tokens": {"head.dense": "vocab_transform", "head.norm": "vocab_layer_norm"},
        "replaced_tokens": TOKEN_HEADS["tagging"],
        "classification": {"head.dense": "pre_classifier", "head.output": "classifier"},
        **TOKEN_HEADS,
    }
    output_bias = "vocab_projector.bias"
    tied_copies: ClassVar = {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}

    def translated(self, config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
        """Return nothing: its keys stand for themselves."""
        return {}

    def check_network(self, config: Mapping[str, Any], where: str) -> None:
        for name, key in self.config_keys.items():  # some of which transformers takes for one another
            if name != "classifier_dropout" and name in config and config[name] != config.get(key, config[name]):
                raise UserError(
                    f"{where}: {name} = {quoted(config[name], 60)} where {key} = {quoted(config[key], 60)}, which are "
                    f"one setting; correct one"
                )
