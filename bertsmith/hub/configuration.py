"""config.json ↔ the settings of our encoder; its sizes are those of the tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.config.loading import check
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import REPLACED, Family
from bertsmith.hub.heads import HEADS, PROBLEM_TYPES, REGRESSION
from bertsmith.hub.layout import architecture, named, notes_on_norms, with_tied
from bertsmith.hub.network import Network
from bertsmith.hub.registry import CLASSES, FAMILIES
from bertsmith.storage.json_files import member
from bertsmith.tokenizers.tokenizer import Tokenizer

OWN_KEYS = ("trained_length", "energies", "disentangled", "learnt", "measured")
"""Keys of config.json that transformers does not know."""

GELU = ("gelu", "gelu_python")
"""transformers' names of the exact GELU; its others (gelu_new, gelu_fast, gelu_pytorch_tanh, …) are approximations."""


def describe(network: Network, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of a network's config.json."""
    settings, family, labels = network.settings, FAMILIES[network.family], network.labels
    sizes = {
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": settings.feed_forward,
        "max_position_embeddings": settings.max_position_embeddings,
    }
    config: dict[str, Any] = {"architectures": [family.class_of(network.head)], "model_type": family.name}
    config |= {family.key(name): size for name, size in sizes.items()}
    config |= family.describe(settings, network.head)
    if family.tags_replaced and network.head == "replaced_tokens":
        config |= REPLACED
    if labels:
        config["id2label"] = {str(id): label for id, label in enumerate(labels)}
        config["label2id"] = {label: id for id, label in enumerate(labels)}
    if network.problem_type is not None:
        config["problem_type"] = network.problem_type
    config |= family.token_ids(tokenizer) | {"vocab_size": network.vocab_size}
    config[family.key("max_position_embeddings")] += family.unread_positions(config)
    kept = zip(OWN_KEYS, (network.trained_length, network.is_energy_head, network.is_disentangled,
                          list(network.finetuned_on), network.evaluation_settings), strict=True)  # fmt: skip
    return config | {key: value for key, value in kept if value}


def read_config(path: Path, config: dict[str, Any], plain: Mapping[str, tuple[int, ...]]) -> Network:
    """Return a folder's network without its weights, by its config.json, and where that is silent by the tensors.

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
    notes += notes_on_norms(names)
    names, tied = with_tied(names, family)
    labels = _labels(config, where) if HEADS[family.head_of(name, ())].has_labels else ()
    head = family.head_of(name, labels)
    refuse_other_networks(config, family, head, where)
    sizes = sizes_of(family, {name_here: plain[short] for name_here, short in names.items()}, str(path.parent))
    absent = check_sizes(config, {family.key(name): size for name, size in sizes.items()}, where)
    if family.position_table:
        sizes["max_position_embeddings"] -= family.unread_positions(config)
    unread = [
        f"{key} = {quoted(config[key], 60)}: {remark}"
        for key, (usual, remark) in family.unread_values.items()
        if config.get(key, usual) != usual
    ]
    config = config | family.translated(config, sizes["num_hidden_layers"], where) | {"model_type": family.name}
    for name_here in family.required_keys:
        given = config.get(key := family.key(name_here))
        if type(given) is not int or given < 1:
            raise UserError(f"{where}: {key} = {quoted(given, 60)}; it must be a whole number above 0")
        sizes[name_here] = given
    vocab_size = sizes.pop("vocab_size")
    kind = member(config, "problem_type", (str, type(None)), where, None)
    if kind not in (None, *PROBLEM_TYPES) or (kind == REGRESSION and head == "classification" and len(labels) > 1):
        raise UserError(f"{where}: problem_type = {quoted(kind, 60)} with {len(labels)} labels, which is not read")
    try:
        defaults = {name: config[key] for name in family.defaults if (key := family.key(name)) in config}
        settings = check(family.config, sizes | defaults)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Network(
        family=family.name, head=head, settings=settings, vocab_size=vocab_size, labels=labels,
        problem_type=kind if head == "classification" else None, folder=path.parent,
        concluded=(*notes, *tied, *absent, *unread),
        **_own(config, head, where),
    )  # fmt: skip


def refuse_other_networks(config: Mapping[str, Any], family: Family, head: HeadName | None, where: str) -> None:
    """Raise UserError where a key makes another network of the tensors than our encoder is."""
    for key, value in family.required_values.items():
        given = config.get(key, value)
        if not _same(given, value) and head in family.relevant_heads.get(key, (head,)):
            exact = " (the exact one)" if value == GELU[0] else ""
            raise UserError(f"{where}: {key} = {quoted(given, 60)}; bertsmith's encoder knows only {value!r}{exact}")
    family.check_network(config, where)


def _same(given: Any, value: Any) -> bool:
    """Return whether a key with the value `given` means `value`."""
    if value == GELU[0]:
        return isinstance(given, str) and given in GELU
    return not value if given is None else type(given) is type(value) and given == value


def _own(config: Mapping[str, Any], head: HeadName | None, where: str) -> dict[str, Any]:
    """Return the values of the keys that only we write, as fields of `Network`."""
    trained_length = member(config, "trained_length", (int, type(None)), where, None)
    if trained_length is not None and trained_length < 1:
        raise UserError(f"{where}: trained_length = {quoted(trained_length, 60)}; it must be a whole number above 0")
    heads: dict[str, HeadName] = {"energies": "replaced_tokens", "disentangled": "masked_tokens"}
    for key, its_head in heads.items():
        value = config.get(key, False)
        if type(value) is not bool or (value and head != its_head):
            raise UserError(
                f"{where}: {key} = {quoted(value, 60)}; it must be true or false, and true with a "
                f"{HEADS[its_head].title} only"
            )
    learnt = member(config, "learnt", list, where, [])
    if not all(isinstance(task, str) for task in learnt):
        raise UserError(f"{where}: learnt = {quoted(learnt)}; it must be a list of tasks")
    measured = member(config, "measured", (dict, type(None)), where, None)
    own = {"is_energy_head": config.get("energies", False), "is_disentangled": config.get("disentangled", False)}
    return own | {"trained_length": trained_length, "evaluation_settings": measured, "finetuned_on": tuple(learnt)}


def _labels(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes in the order of their ids; none where config.json has none."""
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


def sizes_of(family: Family, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, int]:
    """Return the sizes that the tensors show, by their keys in config.json.

    Args:
        shapes: of all tensors, by the family's own names.
        where: the folder.

    Raises:
        UserError: a tensor that shows a size is missing, or has another number of dimensions.
    """

    def shape(name: str, num_axes: int = 2) -> tuple[int, ...]:
        if name not in shapes:
            raise UserError(f"{where}: no {name}, which every model of the kind has; take all of the weights")
        if len(shapes[name]) != num_axes or min(shapes[name]) < 1:
            raise UserError(f"{where}: {name} is {list(shapes[name])}, which no such tensor can be; fetch it again")
        return shapes[name]

    sizes, pattern, expand = family.sizes(shape, where)
    sizes["num_hidden_layers"] = len({match[1] for name in shapes if (match := re.match(pattern, name))})
    if sizes["num_hidden_layers"] == 0:
        raise UserError(f"{where}: no tensor of a layer (as {expand}); take all of the weights")
    sizes |= family.layer_sizes(*shape(expand))
    if family.is_unprojected and sizes.pop("embedding_size") != sizes["hidden_size"]:
        raise UserError(
            f"{where}: embeddings of another width than the layers' {sizes['hidden_size']}, which no {family.title} has"
        )
    return sizes


def check_sizes(config: Mapping[str, Any], sizes: Mapping[str, int], where: str) -> list[str]:
    """Check the tensors' sizes against those in config.json, and return a line for each that is not there. Raises
    UserError where they disagree, or config.json has no whole number."""
    notes = []
    for key, value in sizes.items():
        given = config.get(key)
        if given is None:
            notes.append(f"config.json has no {key}: {value:,}, as the tensors have it")
        elif type(given) is not int or given < 1:
            raise UserError(f"{where}: {key} = {quoted(given, 60)}; it must be a whole number above 0")
        elif given != value:
            raise UserError(
                f"{where}: {key} = {quoted(given, 60)} where the tensors have {value:,}; put the config.json that "
                f"belongs to these weights beside them"
            )
    return notes
