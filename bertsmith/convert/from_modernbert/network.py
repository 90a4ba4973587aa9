"""The network of a YAML file of ModernBERT's → ours: `flex_bert` where it is ModernBERT's, and `hf_bert`.

Source: AnswerDotAI/ModernBERT, src/bert_layers/configuration_bert.py; transformers, models/bert/configuration_bert.py.
"""

from typing import Any

from bertsmith.convert.from_modernbert.yaml_file import YamlSettings
from bertsmith.convert.recipe_file import Draft
from bertsmith.errors import UserError, quoted

_CONFIG = "model.model_config"
_BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
"""What a file leaves out: its models begin with the configuration of bert-base-uncased."""

_MODERN_KEYS = {
    "init_std": "initializer_range", "embed_dropout_prob": "embedding_dropout", "mlp_dropout_prob": "mlp_dropout",
    "attention_probs_dropout_prob": "attention_dropout", "norm_kwargs.eps": "norm_eps",
    "pooling_type": "classifier_pooling",
}  # fmt: skip
"""Key there → key of our `model`, with the same value."""
_MODERN_DEFAULTS: dict[str, Any] = {"init_std": 0.02, "norm_kwargs.eps": 1e-5, "pooling_type": "cls"}
"""Of those keys, what the file's program takes where a file has none; of the others 0."""

_FIXED: dict[str, tuple[Any, ...]] = {
    "attention_layer": ("rope",), "bert_layer": ("prenorm",), "embedding_layer": ("sans_pos",), "mlp_layer": ("glu",),
    "normalization": ("layernorm",), "norm_kwargs.bias": (False,), "embed_norm": (True,), "final_norm": (True,),
    "skip_first_prenorm": (True,), "attn_out_bias": (False,), "attn_qkv_bias": (False,), "mlp_in_bias": (False,),
    "mlp_out_bias": (False,), "hidden_act": ("gelu",), "head_pred_act": ("gelu",), "head_pred_bias": (False,),
    "head_pred_norm": (True, "layernorm"), "head_pred_dropout": (0, 0.0), "decoder_bias": (True,),
    "rotary_emb_dim": (None,), "local_attn_rotary_emb_dim": (None,), "rotary_emb_scale_base": (None,),
    "rotary_emb_interleaved": (False,), "init_method": ("full_megatron",), "init_cutoff_factor": (2, 2.0),
    "init_small_embedding": (False,), "loss_function": ("cross_entropy", "fa_cross_entropy"),
    "loss_kwargs.reduction": ("mean",), "loss_kwargs.return_z_loss": (False,), "type_vocab_size": (1, 2),
}  # fmt: skip
"""Keys for which ModernBERT's encoder here has these values, whatever a file says."""

_NOTHING_TO_SET = (
    "activation_function", "padding", "unpad_embeddings", "pad_logits", "masked_prediction", "sparse_prediction",
    "compile_model", "use_fa2", "deterministic_fa2", "use_sdpa_attn_mask", "allow_embedding_resizing",
    "num_initial_layers", "initial_attention_layer", "initial_bert_layer", "initial_mlp_layer", "encoder_layer",
    "head_class_act", "head_class_bias", "head_class_dropout", "head_class_norm", "max_position_embeddings",
    "loss_kwargs.inplace_backward", "loss_kwargs.lse_square_scale",
)  # fmt: skip
"""Keys that change no result of pre-training, or nothing beside the others."""

_BERT_KEYS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
    "initializer_range", "layer_norm_eps",
)  # fmt: skip
"""Keys of transformers' BertConfig that our `model` has under the same names, and the same defaults."""


def read_network(given: YamlSettings, draft: Draft) -> None:
    """Add the network to the draft. Raises UserError where it is of a kind that is not here."""
    name = given.take("model.name")
    if name not in ("flex_bert", "hf_bert"):
        raise UserError(
            f"{given.path}: model.name = {quoted(name, 40)}: no such network here; flex_bert (model.kind=modern) and "
            f"hf_bert (model.kind=classic) become recipes"
        )
    if given.take("model.num_labels") is not None:
        raise UserError(
            f"{given.path}: model.num_labels: a file of fine-tuning, and not one of main.py; `bertsmith finetune` has "
            f"settings of its own"
        )
    if given.take("model.use_pretrained") or given.take("model.pretrained_checkpoint"):
        draft.note("model.use_pretrained", "init=MODEL on the command line names a model to go on from")
    sizes = {key: given.number(f"{_CONFIG}.{key}", value) for key, value in _BERT_BASE.items()}
    draft.values |= {f"model.{key}": value for key, value in sizes.items()}
    if given.take(f"{_CONFIG}.vocab_size") is not None:
        draft.note(f"{_CONFIG}.vocab_size", "the data folder's own; bertsmith prepare decides it")
    if name == "flex_bert":
        _read_modern(given, draft)
    else:
        _read_bert(given, draft)
    for key in ("pretrained_model_name", "tokenizer_name", "disable_train_metrics", "recompute_metric_loss"):
        given.take(f"model.{key}")
    if given.take("model.gradient_checkpointing"):
        draft.note("model.gradient_checkpointing", "not here; machine.micro_batch_rows lowers the memory of a step")


def _read_bert(given: YamlSettings, draft: Draft) -> None:
    draft.values["model.kind"] = "classic"
    for key in _BERT_KEYS:
        value = given.number(f"{_CONFIG}.{key}")
        if value is not None:
            draft.values[f"model.{key}"] = value
    given.take(f"{_CONFIG}.max_position_embedding")  # of the published files, which transformers ignores as well
    if (act := given.take(f"{_CONFIG}.hidden_act", "gelu")) != "gelu":
        draft.note(f"{_CONFIG}.hidden_act", f"{act}: the encoder here has gelu")
    _note_unread(given, draft)


def _read_modern(given: YamlSettings, draft: Draft) -> None:
    draft.values["model.kind"] = "modern"
    for key, ours in _MODERN_KEYS.items():
        take = given.take if key == "pooling_type" else given.number
        draft.values[f"model.{ours}"] = take(f"{_CONFIG}.{key}", _MODERN_DEFAULTS.get(key, 0.0))
    after = given.number(f"{_CONFIG}.attn_out_dropout_prob", 0.0)
    if after != draft.values["model.attention_dropout"]:
        remark = (
            f"{after:g}: model.attention_dropout is one for attention's weights and its output, here as for weights"
        )
        draft.note(f"{_CONFIG}.attn_out_dropout_prob", remark)
    _read_windows(given, draft)
    for key, values in _FIXED.items():
        written = f"{_CONFIG}.{key}"
        if written in given.values and (value := given.values.pop(written)) not in values:
            draft.note(written, f"{_shown(value)}: ModernBERT's encoder here has {_shown(values[0])}")
    for key in _NOTHING_TO_SET:
        given.values.pop(f"{_CONFIG}.{key}", None)
    _note_unread(given, draft)


def _read_windows(given: YamlSettings, draft: Draft) -> None:
    """Add attention windows and the bases of rotary positions; -1 stands for none of one's own."""
    window = given.number(f"{_CONFIG}.sliding_window", -1)
    every = given.number(f"{_CONFIG}.global_attn_every_n_layers", -1)
    base = given.number(f"{_CONFIG}.rotary_emb_base", 10_000.0)
    local_base = given.number(f"{_CONFIG}.local_attn_rotary_emb_base", -1)
    draft.values |= {
        "model.global_rope_theta": float(base),
        "model.local_rope_theta": float(base if local_base == -1 else local_base),
        "model.global_attn_every_n_layers": every if every > 0 else 1,
    }
    if window > 0:
        draft.values["model.local_attention"] = window
        if every <= 0:
            remark = "every layer has the window there, and here the first of each group sees the row: every layer does"
            draft.note(f"{_CONFIG}.global_attn_every_n_layers", remark)


def _note_unread(given: YamlSettings, draft: Draft) -> None:
    for key in given.below(_CONFIG):
        value = given.values.pop(key)
        draft.note(key, f"{_shown(value)}: not known here")


def _shown(value: Any) -> str:
    """Return a value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value, 60)
