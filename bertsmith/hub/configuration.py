"""config.json ↔ what our encoder is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bertsmith.config.loading import check
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.architecture import CLASSES, architecture
from bertsmith.hub.layout import named, with_tied
from bertsmith.hub.names import LABELLED, Family, Head
from bertsmith.hub.sizes import agreed, sizes_of
from bertsmith.storage.json_files import member

MULTI_LABEL = "multi_label_classification"
"""The `problem_type` of a head for any number of labels a text."""

PROBLEM_TYPES = (None, "regression", "single_label_classification", MULTI_LABEL)

_REPLACED = {"id2label": {"0": "replaced"}, "label2id": {"replaced": 0}}
"""Of a ModernBertForTokenClassification that is a discriminator; one with several labels tags words."""

GELU = ("gelu", "gelu_python")
"""transformers' names of the exact GELU; its others (gelu_new, gelu_fast, gelu_pytorch_tanh, …) are approximations."""

_CLASSIC_FIXED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
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
    "is_decoder": False,
    "is_encoder_decoder": False,
    "rope_scaling": None,
    "tie_word_embeddings": True,
    "quantization_config": None,
}
FIXED = {"bert": _CLASSIC_FIXED, "electra": _CLASSIC_FIXED, "modernbert": _MODERN_FIXED}
"""What our encoder is and cannot be otherwise: key → the value it has, which is Hugging Face's default too."""

_READ_BY: dict[str, tuple[Head, ...]] = {
    "decoder_bias": ("masked_tokens",),
    "classifier_bias": get_args(Head),
    "classifier_activation": get_args(Head),
}
"""Of these keys: the heads that they say something of."""

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
    settings: EncoderConfig
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
    measured: dict[str, Any] | None
    """Our own key: how its run measured held-out text."""
    concluded: tuple[str, ...]
    """What config.json does not say and the tensors do, a line each."""


def family_of(settings: EncoderConfig) -> Family:
    """Whose classes hold an encoder that was trained on masked tokens: BERT's know no projection."""
    if isinstance(settings, ModernBertConfig):
        return "modernbert"
    return "bert" if settings.embedding == settings.hidden_size else "electra"


def describe(
    family: Family, settings: EncoderConfig, head: Head | None, labels: list[str] | None, multi_label: bool = False
) -> dict[str, Any]:
    """The content of a config.json, vocabulary apart; `labels` name classes or tags, one class is a regression unless
    it is of a `multi_label` head."""
    discriminator = (family, head) == ("modernbert", "replaced_tokens")
    written = (family, "tagging" if discriminator else head)
    config = {
        "architectures": [next(name for name, value in CLASSES.items() if value == written)],
        "model_type": family,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": settings.feed_forward,
        "max_position_embeddings": settings.max_position_embeddings,
    }
    if isinstance(settings, ModernBertConfig):
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


def read_config(path: Path, config: dict[str, Any], plain: Mapping[str, tuple[int, ...]]) -> Described:
    """Return what a config.json says of a folder's tensors, and what these say where it says nothing.

    Args:
        path: of config.json, for messages.
        config: its content.
        plain: the tensors' shapes by their names, without wrappers' prefixes.

    Raises:
        UserError: it names a class, or gives a key a value, that is not our encoder's; it and the tensors disagree.
    """
    where = str(path)
    name, notes = architecture(config, plain, where)
    family, head = CLASSES[name]
    names = named({short: short for short in plain}, family, where)
    names, tied = with_tied(names, family)
    labels = _labels(config, where) if head in LABELLED else ()
    if (family, head) == ("modernbert", "tagging") and len(labels) == 1:
        head = "replaced_tokens"
    refuse_other_networks(config, family, head, where)
    found = sizes_of(family, {own: plain[short] for own, short in names.items()}, str(path.parent))
    sizes, absent = agreed(config, found, where)
    cls, others = BertConfig, _CLASSIC_OTHERS
    needed: tuple[str, ...] = ("num_attention_heads",)
    if family == "modernbert":
        cls, others, needed = ModernBertConfig, _MODERN_OTHERS, ("num_attention_heads", "max_position_embeddings")
        config = config | _pattern(config, sizes["num_hidden_layers"], where)
    for key in needed:
        if type(config.get(key)) is not int or config[key] < 1:
            raise UserError(f"{where}: {key} = {quoted(config.get(key), 60)}; it must be a whole number above 0")
        sizes[key] = config[key]
    vocab_size = sizes.pop("vocab_size")
    kind = member(config, "problem_type", (str, type(None)), where, None)
    if kind not in PROBLEM_TYPES or (kind == "regression" and head == "classification" and len(labels) > 1):
        raise UserError(f"{where}: problem_type = {quoted(kind, 60)} with {len(labels)} labels, which is not read")
    try:
        settings = check(cls, sizes | {key: config[key] for key in others if key in config})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Described(
        name, family, head, settings, vocab_size, labels=labels, multi_label=kind == MULTI_LABEL,
        concluded=(*notes, *tied, *absent), **_own(config, head, where),
    )  # fmt: skip


def refuse_other_networks(config: Mapping[str, Any], family: Family, head: Head | None, where: str) -> None:
    """Raises UserError where a key makes another network of the tensors than our encoder is."""
    for key, value in FIXED[family].items():
        said = config.get(key, value)
        if not _is(said, value) and head in _READ_BY.get(key, (head,)):
            exact = " (the exact one)" if value == GELU[0] else ""
            raise UserError(f"{where}: {key} = {quoted(said, 60)}; bertsmith's encoder knows only {value!r}{exact}")
    if family == "modernbert":
        window = member(config, "sliding_window", (int, type(None)), where, None)
        if window is not None and window * 2 != config.get("local_attention", 128):
            raise UserError(f"{where}: sliding_window = {window} is not half of local_attention; leave it away")


def _is(said: Any, value: Any) -> bool:
    """Whether a key that holds `said` means `value`."""
    if value == GELU[0]:
        return isinstance(said, str) and said in GELU
    if said is None:
        return not value
    return type(said) is type(value) and said == value


def _own(config: Mapping[str, Any], head: Head | None, where: str) -> dict[str, Any]:
    """The keys that we write."""
    trained_length = member(config, "trained_length", (int, type(None)), where, None)
    if trained_length is not None and trained_length < 1:
        raise UserError(f"{where}: trained_length = {quoted(trained_length, 60)}; it must be a whole number above 0")
    energies = config.get("energies", False)
    if type(energies) is not bool or (energies and head != "replaced_tokens"):
        raise UserError(
            f"{where}: energies = {quoted(energies, 60)}; it must be true or false, and true of a discriminator only"
        )
    learnt = member(config, "learnt", list, where, [])
    if not all(isinstance(task, str) for task in learnt):
        raise UserError(f"{where}: learnt = {quoted(learnt)}; it must be a list of tasks")
    measured = member(config, "measured", (dict, type(None)), where, None)
    return {"trained_length": trained_length, "energies": energies, "learnt": tuple(learnt), "measured": measured}


def _labels(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names of the classes in the order of their ids; none where config.json has none."""
    names = member(config, "id2label", (dict, type(None)), where, None)
    if not names:
        return ()
    wrong = names.keys() != {str(id) for id in range(len(names))}
    if wrong or not all(isinstance(name, str | int | float) for name in names.values()):
        raise UserError(f"{where}: id2label = {quoted(names, 100)}; it must name 0 to {len(names) - 1}, each once")
    labels = tuple(str(names[str(id)]) for id in range(len(names)))
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UserError(f"{where}: id2label calls two classes {quoted(twice, 60)}; give each a name of its own")
    return labels


def _pattern(config: Mapping[str, Any], num_layers: int, where: str) -> dict[str, Any]:
    """What transformers 5 writes about ModernBERT's layers one by one, as the settings that it is written from."""
    found: dict[str, Any] = {}
    kinds = member(config, "layer_types", (list, type(None)), where, None)
    ropes = member(config, "rope_parameters", (dict, type(None)), where, None) or {}
    if kinds is not None:
        if len(kinds) != num_layers:
            raise UserError(f"{where}: layer_types names {len(kinds)} layers, and the tensors are of {num_layers}")
        every = next((n for n in range(1, len(kinds)) if kinds[n] == "full_attention"), max(1, len(kinds)))
        if kinds != ["sliding_attention" if layer % every else "full_attention" for layer in range(len(kinds))]:
            raise UserError(
                f"{where}: layer_types = {quoted(kinds)}; bertsmith's layers see the whole row at regular intervals"
            )
        found["global_attn_every_n_layers"] = every
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
            found[key] = float(member(rope, "rope_theta", float, place))
    return found
