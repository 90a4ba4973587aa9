"""A folder's config.json and the names of its tensors → its class, and the names that the class gives them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family
from bertsmith.hub.registry import CLASSES, FAMILIES
from bertsmith.storage.json_files import member

_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that DataParallel, torch.compile, FSDP and activation checkpointing put in, wherever they wrap."""

_ANCHORS = {
    anchor: tuple(family.base_model_prefix for family in FAMILIES.values() if anchor in family.unique_suffixes)
    for owner in FAMILIES.values()
    for anchor in owner.unique_suffixes
}
"""Ends of the names of tensors that each encoder has one of → the roots of the families that have it."""

_UNREAD_FAMILIES = {root: title for root, title in {
    "roberta": "RoBERTa", "distilbert": "DistilBERT", "deberta": "DeBERTa", "albert": "ALBERT", "mpnet": "MPNet",
    "transformer": "GPT-2 or XLM", "longformer": "Longformer", "luke": "LUKE", "funnel": "Funnel", "xlnet": "XLNet",
    "shared": "T5", "h": "GPT-2", "wte": "GPT-2",
}.items() if root not in {family.base_model_prefix for family in FAMILIES.values()}}  # fmt: skip
"""First parts of the names of tensors of families that are not read → the family."""

_UNREAD_NAMES = {
    r"\.attention\.self\.in_proj\.": "the first DeBERTa", r"\.albert_layer_groups\.": "ALBERT",
    r"(^|\.)encoder\.relative_attention_bias\.": "MPNet",
    r"(^|\.)layers\.\d+\.self_attn\.": "Llama, BART or the like",
}  # fmt: skip
"""Parts of the names of tensors of families that are not read and have other names in common with one that is → the
family."""

_COMMON_NAMES = ("transformer", "shared", "h", "wte")
"""Keys of `_UNREAD_FAMILIES` that a user's own module around a BERT may have too."""


def unwrapped(names: Iterable[str], where: str) -> tuple[dict[str, str], list[str]]:
    """Return each name without the parts that wrappers put in, and lines about these. Raises
    UserError where two names become one; there are two encoders; one name has the prefix and another does not."""
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    parts = [part for part in _WRAPPERS if any(part in name.split(".") for name in plain)]
    notes = [f"{' and '.join(f'{part}.' for part in parts)} taken out of the tensors' names"] if parts else []
    _check_one_each(plain, where)
    if prefix := _prefix(plain.values(), where):
        if others := sorted(name for name in plain.values() if not name.startswith(prefix)):
            raise UserError(
                f"{where}: the encoder's tensors begin with {quoted(prefix, 80)}, and {quoted(others[0], 80)} does "
                f"not; save the model with its own class"
            )
        plain = {name: short.removeprefix(prefix) for name, short in plain.items()}
        notes.append(f"the prefix {quoted(prefix, 80)} taken off all tensors' names")
    return plain, notes


def named(plain: Mapping[str, str], family: Family, where: str) -> dict[str, str]:
    """Return, for each name that `unwrapped` gave, the family's own name → the name in the file. Raises UserError where
    two tensors have one name, as LayerNorm.gamma and LayerNorm.weight."""
    normalized = {stored: family.normalized_name(short) for stored, short in plain.items()}
    _check_one_each(normalized, where)
    return {name: stored for stored, name in normalized.items()}


def notes_on_norms(names: Mapping[str, str]) -> list[str]:
    """Return a line where files have the first names of a norm's weight and bias, gamma and beta; `names` are those of
    `named`."""
    old = {end for name, stored in names.items() if (end := _last_part(stored)) != _last_part(name)}
    return [f"{' and '.join(sorted(old, reverse=True))} in the tensors' names: a norm's weight and bias"] if old else []


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]


def with_tied(names: dict[str, str], family: Family) -> tuple[dict[str, str], list[str]]:
    """Return `names` with the copy of a tied tensor for an original that was not kept, and lines that say so."""
    names, notes = dict(names), []
    for copy, original in family.tied_copies.items():
        if copy in names and original not in names:
            names[original] = names.pop(copy)
            notes.append(f"no {original}: {copy}, which is the same tensor in such a model, stands for it")
    return names, notes


def _prefix(names: Iterable[str], where: str) -> str:
    """Return the prefix before the family's own names, with the dot at its end; empty without one."""
    names = list(names)
    for anchor, owns in _ANCHORS.items():
        anchored = sorted(name for name in names if f".{name}".endswith(anchor))
        if len(anchored) > 1:
            raise UserError(
                f"{where}: {quoted(anchored[0], 80)} and {quoted(anchored[1], 80)}: two encoders in one file; save "
                f"each as a folder of its own"
            )
        if not anchored:
            continue
        before = f".{anchored[0]}".removesuffix(anchor)  # "" or ".module.bert"
        head, _, last = before.rpartition(".")
        if last in _UNREAD_FAMILIES and last not in _COMMON_NAMES:
            return ""  # it is refused by its family's name
        before = head if last in owns else before
        return f"{before[1:]}." if before else ""
    return ""


def _check_one_each(names: Mapping[str, str], where: str) -> None:
    first: dict[str, str] = {}
    for stored, name in names.items():
        if name in first:
            raise UserError(
                f"{where}: {quoted(first[name], 80)} and {quoted(stored, 80)} are one tensor of the model by their "
                f"names; keep one of them"
            )
        first[name] = stored


*_FIRST, _LAST = (family.title for family in FAMILIES.values())
READ = "bertsmith reads " + " and ".join([", ".join(_FIRST), _LAST])


def architecture(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> tuple[str, list[str]]:
    """Return the class of transformers, of `CLASSES`, that a folder holds, and lines about what was concluded.

    Args:
        config: the content of config.json.
        names: the tensors' names, without wrappers' prefixes, with their shapes.
        where: the path of config.json.

    Raises:
        UserError: it is none of these, or the folder does not show which.
    """
    kind = member(config, "model_type", (str, type(None)), where, None)
    named = member(config, "architectures", (list, type(None)), where, None)
    custom = config.get("auto_map")
    if isinstance(custom, dict) and any(str(key).startswith("AutoModel") for key in custom):
        raise UserError(f"{where}: auto_map: the network is defined by code of its own, which is not run; {READ}")
    if kind is not None and kind not in FAMILIES:
        raise UserError(f"{where}: model_type = {quoted(kind, 60)}, {_unread(config, named or [])}; {READ}")
    if not named:
        family = FAMILIES[kind] if kind else _family(config, names, where)
        name = family.infer_class(config, names.keys(), where)
        absent = " and ".join(key for key, value in (("architectures", named), ("model_type", kind)) if not value)
        return name, [f"config.json has no {absent}: read as {name}, by the tensors' names"]
    if len(named) != 1 or not isinstance(named[0], str) or named[0] not in CLASSES:
        read = READ
        if kind:
            of_it = ", ".join([*FAMILIES[kind].classes, *FAMILIES[kind].other_classes])
            read = f"of {FAMILIES[kind].title} bertsmith reads {of_it}"
        raise UserError(f"{where}: architectures = {quoted(named, 100)}, {_unread(config, named)}; {read}")
    if kind not in (None, CLASSES[named[0]].name):
        raise UserError(
            f"{where}: model_type = {quoted(kind, 60)} and architectures = {quoted(named, 100)} are two families; "
            f"correct one"
        )
    return named[0], []


def _unread(config: Mapping[str, Any], classes: Iterable[Any]) -> str:
    """Return in words what a network of another family is."""
    names = [str(name) for name in classes]
    if config.get("is_encoder_decoder") is True or any(name.endswith("ForConditionalGeneration") for name in names):
        return "an encoder–decoder, where an encoder alone is read"
    if config.get("is_decoder") is True or any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return "a decoder, whose tokens see no token to their right"
    return "a class that is not read" if config.get("model_type") in FAMILIES else "a family that is not read"


def _family(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> Family:
    """Return the family that has a tensor of these names; see `Family.shares_names`."""
    for pattern, other in _UNREAD_NAMES.items():
        if any(re.search(pattern, name) for name in names):
            raise _of_unread(other, where)
    families = sorted(FAMILIES.values(), key=lambda family: family.shares_names)
    unread = [name for name in names if not any(re.match(family.names_pattern, name) for family in families)]
    if others := [first for name in sorted(unread) if (first := name.partition(".")[0]) in _UNREAD_FAMILIES]:
        raise _of_unread(_UNREAD_FAMILIES[others[0]], where)
    for family in families:
        if family.recognises(config, names):
            return family
    first = quoted(min(names, default="none"), 80)
    raise UserError(f"{where}: no model_type, and the tensors (as {first}) are of no family that is read; {READ}")


def _of_unread(family: str, where: str) -> UserError:
    return UserError(f"{where}: the tensors' names are those of {family}, a family that is not read; {READ}")
