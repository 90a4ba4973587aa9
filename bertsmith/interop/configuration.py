"""config.json ↔ what our encoder is made of."""

import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bertsmith.config import check
from bertsmith.errors import UserError
from bertsmith.interop.names import Family, Head
from bertsmith.model.config import ClassicSettings, EncoderSettings, ModernSettings

MULTI_LABEL = "multi_label_classification"
"""The `problem_type` of a head for any number of labels a text."""

_CLASSES: dict[str, tuple[Family, Head | None]] = {
    "BertForMaskedLM": ("bert", "masked_tokens"),
    "BertForSequenceClassification": ("bert", "classification"),
    "BertForTokenClassification": ("bert", "tagging"),
    "BertForQuestionAnswering": ("bert", "answering"),
    "ElectraForMaskedLM": ("electra", "masked_tokens"),
    "ElectraForPreTraining": ("electra", "replaced_tokens"),
    "ElectraForSequenceClassification": ("electra", "classification"),
    "ElectraForTokenClassification": ("electra", "tagging"),
    "ElectraForQuestionAnswering": ("electra", "answering"),
    "ModernBertForMaskedLM": ("modernbert", "masked_tokens"),
    "ModernBertForTokenClassification": ("modernbert", "tagging"),
    "ModernBertForSequenceClassification": ("modernbert", "classification"),
    "ModernBertForQuestionAnswering": ("modernbert", "answering"),
    # These are only read.
    "BertModel": ("bert", None),
    "BertForPreTraining": ("bert", "masked_tokens"),
    "ElectraModel": ("electra", None),
    "ModernBertModel": ("modernbert", None),
}

_REPLACED = {"id2label": {"0": "replaced"}, "label2id": {"replaced": 0}}
"""Of a ModernBertForTokenClassification that is a discriminator; one with several labels tags words."""

_CLASSIC_FIXED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "quantization_config": None,
}
_MODERN_FIXED = {
    "hidden_activation": "gelu",
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "decoder_bias": True,
    "classifier_bias": False,
    "classifier_activation": "gelu",
    "tie_word_embeddings": True,
    "quantization_config": None,
}
_FIXED = {"bert": _CLASSIC_FIXED, "electra": _CLASSIC_FIXED, "modernbert": _MODERN_FIXED}
"""What our encoder is and cannot be otherwise: key → the value it has, which is Hugging Face's default too."""

_READ_BY: dict[str, tuple[Head, ...]] = {
    "decoder_bias": ("masked_tokens",),
    "classifier_bias": get_args(Head),
    "classifier_activation": get_args(Head),
}
"""Of these keys: the heads that they say something of."""

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
_CLASSIC_SIZES = (*_SIZES, "type_vocab_size")
_CLASSIC_OTHERS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps")
_MODERN_OTHERS = (
    "global_attn_every_n_layers",
    "local_attention",
    "global_rope_theta",
    "local_rope_theta",
    "embedding_dropout",
    "attention_dropout",
    "mlp_dropout",
    "initializer_range",
    "norm_eps",
    "classifier_pooling",
)
"""Settings whose defaults here are Hugging Face's, so that a config.json may leave them out."""


class Described(NamedTuple):
    """What a config.json says."""

    architecture: str
    family: Family
    head: Head | None
    settings: EncoderSettings
    vocab_size: int
    trained_length: int | None
    """Our own key: longest row seen in pre-training, in tokens."""
    energies: bool
    """Our own key: the logits of a replaced-token head are energies."""
    labels: tuple[str, ...]
    """Names of the classes in the order of their ids, where config.json has them."""
    multi_label: bool
    """Whether a text may have any number of these classes."""
    learnt: tuple[str, ...]
    """Our own key: the tasks that it was fine-tuned on, the last one last."""


def family_of(settings: EncoderSettings) -> Family:
    """Whose classes hold an encoder that was trained on masked tokens: BERT's know no projection."""
    if isinstance(settings, ModernSettings):
        return "modernbert"
    return "bert" if settings.embedding == settings.hidden_size else "electra"


def describe(
    family: Family, settings: EncoderSettings, head: Head | None, labels: list[str] | None, multi_label: bool = False
) -> dict[str, Any]:
    """The content of a config.json, vocabulary apart; `labels` name classes or tags, one class is a regression unless
    it is of a `multi_label` head."""
    discriminator = (family, head) == ("modernbert", "replaced_tokens")
    written = (family, "tagging" if discriminator else head)
    config = {
        "architectures": [next(name for name, value in _CLASSES.items() if value == written)],
        "model_type": family,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": settings.feed_forward,
        "max_position_embeddings": settings.max_position_embeddings,
    }
    if isinstance(settings, ModernSettings):
        assert settings.embedding == settings.hidden_size
        config |= {key: getattr(settings, key) for key in _MODERN_OTHERS}
        config |= {key: value for key, value in _MODERN_FIXED.items() if value is not None}
        if discriminator:
            config |= _REPLACED
    else:
        config["type_vocab_size"] = settings.type_vocab_size
        config |= {key: getattr(settings, key) for key in _CLASSIC_OTHERS}
        config |= {key: _CLASSIC_FIXED[key] for key in ("hidden_act", "position_embedding_type", "tie_word_embeddings")}
    if family == "electra":
        config["embedding_size"] = settings.embedding
    if labels is not None:
        config["id2label"] = {str(id): label for id, label in enumerate(labels)}
        config["label2id"] = {label: id for id, label in enumerate(labels)}
    if head == "classification":
        single = "regression" if len(labels) == 1 else "single_label_classification"
        config["problem_type"] = MULTI_LABEL if multi_label else single
    return config


def read_config(path: Path) -> Described:
    """Read a config.json.

    Raises:
        UserError: it is missing or no JSON; it names a class, or gives a key a value, that is not our encoder's.
    """
    config = _read_json(path)
    found = config.get("architectures")
    if not isinstance(found, list) or len(found) != 1 or found[0] not in _CLASSES:
        raise UserError(f"{path}: architectures = {found!r}; bertsmith reads {', '.join(_CLASSES)}")
    family, head = _CLASSES[found[0]]
    labels = _labels(config)
    if (family, head) == ("modernbert", "tagging") and len(labels) == 1:
        head = "replaced_tokens"
    for key, value in _FIXED[family].items():
        if config.get(key, value) != value and head in _READ_BY.get(key, (head,)):
            raise UserError(f"{path}: {key} = {config[key]!r}; bertsmith's encoder knows only {value!r}")
    cls, sizes, others = ClassicSettings, _CLASSIC_SIZES, _CLASSIC_OTHERS
    if family == "electra":
        sizes = (*sizes, "embedding_size")
    elif family == "modernbert":
        cls, sizes, others = ModernSettings, _SIZES, _MODERN_OTHERS
        config |= _pattern(config, path)
    for key in (*sizes, "vocab_size"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise UserError(f"{path}: {key} = {config.get(key)!r}; it must be a whole number above 0")
    try:
        settings = check(cls, {key: config[key] for key in (*sizes, *others) if key in config})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    trained_length = config.get("trained_length")
    if trained_length is not None and (type(trained_length) is not int or trained_length < 1):
        raise UserError(f"{path}: trained_length = {trained_length!r}; it must be a whole number above 0")
    energies = config.get("energies", False)
    if type(energies) is not bool or (energies and head != "replaced_tokens"):
        raise UserError(f"{path}: energies = {energies!r}; it must be true or false, and true of a discriminator only")
    learnt = config.get("learnt", [])
    if not isinstance(learnt, list) or not all(isinstance(task, str) for task in learnt):
        raise UserError(f"{path}: learnt = {learnt!r}; it must be a list of tasks")
    return Described(
        found[0], family, head, settings, config["vocab_size"], trained_length, energies, labels,
        config.get("problem_type") == MULTI_LABEL, tuple(learnt),
    )  # fmt: skip


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if not isinstance(names, dict) or names.keys() != {str(id) for id in range(len(names))}:
        return ()
    return tuple(str(names[str(id)]) for id in range(len(names)))


def _pattern(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """What transformers 5 writes about ModernBERT's layers one by one, as the settings that it is written from."""
    found: dict[str, Any] = {}
    kinds, ropes = config.get("layer_types"), config.get("rope_parameters")
    if kinds is not None:
        every = next((n for n in range(1, len(kinds)) if kinds[n] == "full_attention"), max(1, len(kinds)))
        if kinds != ["sliding_attention" if layer % every else "full_attention" for layer in range(len(kinds))]:
            raise UserError(
                f"{path}: layer_types = {kinds!r}; bertsmith's layers see the whole row at regular intervals"
            )
        found["global_attn_every_n_layers"] = every
    for kind, key in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
        rope = (ropes or {}).get(kind)
        if rope is not None:
            if rope.get("rope_type", "default") != "default":
                raise UserError(f"{path}: rope_type = {rope['rope_type']!r}; bertsmith's encoder knows only 'default'")
            found[key] = float(rope["rope_theta"])
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; name a folder that `bertsmith export` or save_pretrained wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: holds no table of settings; name a folder that save_pretrained wrote")
    return config
