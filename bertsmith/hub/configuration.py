"""config.json ↔ what our encoder is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import check
from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.architecture import architecture
from bertsmith.hub.family import Family
from bertsmith.hub.layout import named, with_tied
from bertsmith.hub.names import LABELLED, Head
from bertsmith.hub.registry import CLASSES, FAMILIES
from bertsmith.hub.sizes import agreed, sizes_of
from bertsmith.storage.json_files import member

MULTI_LABEL = "multi_label_classification"
"""The `problem_type` of a head for any number of labels a text."""

PROBLEM_TYPES = (None, "regression", "single_label_classification", MULTI_LABEL)

GELU = ("gelu", "gelu_python")
"""transformers' names of the exact GELU; its others (gelu_new, gelu_fast, gelu_pytorch_tanh, …) are approximations."""


class Described(NamedTuple):
    """What a config.json says."""

    architecture: str
    family: str
    head: Head | None
    settings: EncoderConfig
    vocab_size: int
    trained_length: int | None
    """Our own key: longest row seen in pre-training, in tokens."""
    is_energy_head: bool
    """Our own key "energies": the logits of a replaced-token head are energies."""
    labels: tuple[str, ...]
    """Names of the classes in the order of their ids, where config.json has them."""
    multi_label: bool
    """Whether a text may have any number of these classes."""
    finetuned_on: tuple[str, ...]
    """Our own key "learnt": the tasks that it was fine-tuned on, the last one last."""
    measured: dict[str, Any] | None
    """Our own key: how its run measured held-out text."""
    concluded: tuple[str, ...]
    """What config.json does not say and the tensors do, a line each."""


def describe(
    family: str, settings: EncoderConfig, head: Head | None, labels: list[str] | None, multi_label: bool = False
) -> dict[str, Any]:
    """The content of a config.json, vocabulary apart; `labels` name classes or tags, one class is a regression unless
    it is of a `multi_label` head."""
    config = {
        "architectures": [FAMILIES[family].class_of(head)],
        "model_type": family,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": settings.feed_forward,
        "max_position_embeddings": settings.max_position_embeddings,
    }
    config |= FAMILIES[family].describe(settings, head)
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
    family = CLASSES[name]
    names = named({short: short for short in plain}, family, where)
    names, tied = with_tied(names, family)
    labels = _labels(config, where) if family.head_of(name, ()) in LABELLED else ()
    head = family.head_of(name, labels)
    refuse_other_networks(config, family, head, where)
    found = sizes_of(family, {own: plain[short] for own, short in names.items()}, str(path.parent))
    sizes, absent = agreed(config, found, where)
    config = config | family.per_layer(config, sizes["num_hidden_layers"], where)
    for key in family.needed:
        if type(config.get(key)) is not int or config[key] < 1:
            raise UserError(f"{where}: {key} = {quoted(config.get(key), 60)}; it must be a whole number above 0")
        sizes[key] = config[key]
    vocab_size = sizes.pop("vocab_size")
    kind = member(config, "problem_type", (str, type(None)), where, None)
    if kind not in PROBLEM_TYPES or (kind == "regression" and head == "classification" and len(labels) > 1):
        raise UserError(f"{where}: problem_type = {quoted(kind, 60)} with {len(labels)} labels, which is not read")
    try:
        settings = check(family.config, sizes | {key: config[key] for key in family.defaults if key in config})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Described(
        name, family.name, head, settings, vocab_size, labels=labels, multi_label=kind == MULTI_LABEL,
        concluded=(*notes, *tied, *absent), **_own(config, head, where),
    )  # fmt: skip


def refuse_other_networks(config: Mapping[str, Any], family: Family, head: Head | None, where: str) -> None:
    """Raises UserError where a key makes another network of the tensors than our encoder is."""
    for key, value in family.fixed.items():
        said = config.get(key, value)
        if not _is(said, value) and head in family.read_by.get(key, (head,)):
            exact = " (the exact one)" if value == GELU[0] else ""
            raise UserError(f"{where}: {key} = {quoted(said, 60)}; bertsmith's encoder knows only {value!r}{exact}")
    family.check_network(config, where)


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
    return {
        "trained_length": trained_length,
        "is_energy_head": energies,
        "finetuned_on": tuple(learnt),
        "measured": measured,
    }


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
