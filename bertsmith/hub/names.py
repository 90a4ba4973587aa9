"""Our tensors' names beside Hugging Face's: one table, used for writing and for reading.

Source: transformers, models/bert/modeling_bert.py, models/electra/modeling_electra.py and
models/modernbert/modeling_modernbert.py.
"""

import re
from collections.abc import Collection
from typing import Literal

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.modernbert import ModernBertConfig

Family = Literal["bert", "electra", "modernbert"]
"""Whose classes."""

Head = Literal["masked_tokens", "replaced_tokens", "classification", "tagging", "answering"]

LABELLED: tuple[Head, ...] = ("classification", "tagging")
"""Those that fine-tuning makes: their outputs are a task's labels, of a row or of each token."""

INPUTS: dict[Family, tuple[str, ...]] = {
    "bert": ("input_ids", "attention_mask", "token_type_ids"),
    "electra": ("input_ids", "attention_mask", "token_type_ids"),
    "modernbert": ("input_ids", "attention_mask"),
}
"""What their classes are given, and what their tokenizers give."""

_EMBEDDINGS = {
    "token": "word_embeddings",
    "position": "position_embeddings",
    "segment": "token_type_embeddings",
}

_LAYER = {
    "attention.query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.dense": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "feed_forward.expand": ("intermediate.dense",),
    "feed_forward.contract": ("output.dense",),
    "feed_forward_norm": ("output.LayerNorm",),
}

_HEADS: dict[tuple[Family, Head], dict[str, str]] = {
    ("bert", "masked_tokens"): {
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    },
    ("electra", "masked_tokens"): {
        "head.dense": "generator_predictions.dense",
        "head.norm": "generator_predictions.LayerNorm",
    },
    ("electra", "replaced_tokens"): {
        "head.dense": "discriminator_predictions.dense",
        "head.output": "discriminator_predictions.dense_prediction",
    },
    ("bert", "classification"): {"head.dense": "bert.pooler.dense", "head.output": "classifier"},
    ("electra", "classification"): {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"},
    ("bert", "tagging"): {"head.output": "classifier"},
    ("electra", "tagging"): {"head.output": "classifier"},
    ("bert", "answering"): {"head.output": "qa_outputs"},
    ("electra", "answering"): {"head.output": "qa_outputs"},
}

_MODERN_EMBEDDINGS = {
    "encoder.embeddings.token": "model.embeddings.tok_embeddings",
    "encoder.norm": "model.embeddings.norm",
    "encoder.final_norm": "model.final_norm",
}

_MODERN_LAYER = {
    "attention_norm": "attn_norm",
    "attention.query_key_value": "attn.Wqkv",
    "attention.dense": "attn.Wo",
    "feed_forward_norm": "mlp_norm",
    "feed_forward.expand": "mlp.Wi",
    "feed_forward.contract": "mlp.Wo",
}

_OUTPUT_BIAS: dict[Family, str] = {"bert": "cls.predictions.bias", "electra": "generator_lm_head.bias"}

POOLER = {"head.dense.weight": "bert.pooler.dense.weight", "head.dense.bias": "bert.pooler.dense.bias"}
"""The part of BERT's classification head that its other classes carry too."""

COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "generator_lm_head.weight": "electra.embeddings.word_embeddings.weight",
    "decoder.weight": "model.embeddings.tok_embeddings.weight",
}
"""What some folders hold twice: the copy, and the tensor that it must equal."""

_BUFFERS = re.compile(
    r"(?:bert|electra)\.embeddings\.(position_ids|token_type_ids)"
    r"|model\.(?:layers\.\d+\.attn\.rotary_emb\.|rotary_emb\.(?:full|sliding)_attention_(?:original_)?)(inv_freq)"
)
"""Tensors that were not learnt, which versions of transformers have kept in their files."""

DROPPED = {
    "cls.seq_relationship.": "next-sentence head",
    "discriminator_predictions.": "replaced-token head",  # beside another head
}
"""Beginnings of names that we read nothing from, unless they are the head's own → what that is."""


def what_is_dropped(name: str) -> str | None:
    """What a tensor is that we read nothing from: a buffer, or one of `DROPPED`."""
    return buffer_kind(name) or next((what for beginning, what in DROPPED.items() if name.startswith(beginning)), None)


def buffer_kind(name: str) -> str | None:
    """What a tensor is that was not learnt, such as "position_ids"; None for all others."""
    found = _BUFFERS.fullmatch(name)
    return found and (found[1] or found[2])


def their_names(family: Family, settings: EncoderConfig, head: Head | None) -> dict[str, tuple[str, ...]]:
    """Our name of every tensor → Hugging Face's; where there are several, ours is theirs one below the other."""
    if isinstance(settings, ModernBertConfig):
        return _modern_names(settings, head)
    modules = {f"encoder.embeddings.{ours}": f"{family}.embeddings.{theirs}" for ours, theirs in _EMBEDDINGS.items()}
    names = {f"{ours}.weight": (f"{theirs}.weight",) for ours, theirs in modules.items()}  # tables have no bias
    names |= _with_parts("encoder.embeddings.norm", (f"{family}.embeddings.LayerNorm",))
    if settings.embedding != settings.hidden_size:
        names |= _with_parts("encoder.projection", (f"{family}.embeddings_project",))
    for layer in range(settings.num_hidden_layers):
        for ours, theirs in _LAYER.items():
            prefix = f"{family}.encoder.layer.{layer}"
            names |= _with_parts(f"encoder.layers.{layer}.{ours}", tuple(f"{prefix}.{part}" for part in theirs))
    if head is not None:
        for ours, name in _HEADS[family, head].items():
            names |= _with_parts(ours, (name,))
    if head == "masked_tokens":
        names["head.bias"] = (_OUTPUT_BIAS[family],)
    return names


def _modern_names(settings: ModernBertConfig, head: Head | None) -> dict[str, tuple[str, ...]]:
    """As `their_names`; but for the last layer nothing has a bias."""
    modules = dict(_MODERN_EMBEDDINGS)
    for layer in range(settings.num_hidden_layers):
        modules |= {
            f"encoder.layers.{layer}.{ours}": f"model.layers.{layer}.{theirs}" for ours, theirs in _MODERN_LAYER.items()
        }
    del modules["encoder.layers.0.attention_norm"]
    if head is not None:
        modules |= {"head.dense": "head.dense", "head.norm": "head.norm"}
    names = {f"{ours}.weight": (f"{theirs}.weight",) for ours, theirs in modules.items()}
    if head == "masked_tokens":
        names["head.bias"] = ("decoder.bias",)
    elif head is not None:
        names |= _with_parts("head.output", ("classifier",))
    return names


def canonical(name: str, family: Family) -> str:
    """The name that a tensor of a saved file has in our table.

    A bare BertModel, ElectraModel or ModernBertModel leaves its prefix away, and BERT's first checkpoints call a norm's
    weight and bias gamma and beta.
    """
    if family == "modernbert":
        return f"model.{name}" if name.startswith(("embeddings.", "layers.", "final_norm.", "rotary_emb.")) else name
    if name.startswith(("embeddings.", "embeddings_project.", "encoder.", "pooler.")):
        name = f"{family}.{name}"
    if name.endswith("LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith("LayerNorm.beta"):
        return name.removesuffix("beta") + "bias"
    return name


def _with_parts(ours: str, theirs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {f"{ours}.{part}": tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")}


def first_of(names: Collection[str]) -> str:
    """For a message: one of them, and how many more there are."""
    others = len(names) - 1
    return f"{min(names)}{f' and {others} more' if others else ''}"
