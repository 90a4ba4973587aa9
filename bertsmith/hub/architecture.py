"""The class that a folder holds, by its config.json, and where that is silent by the tensors' names."""

import re
from collections.abc import Mapping
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family
from bertsmith.hub.layout import other_family
from bertsmith.hub.registry import CLASSES, FAMILIES
from bertsmith.storage.json_files import member

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
    if kind is not None and kind not in FAMILIES:
        raise UserError(f"{where}: model_type = {quoted(kind, 60)}, a family that is not read; {READ}")
    custom = config.get("auto_map")
    if isinstance(custom, dict) and any(str(key).startswith("AutoModel") for key in custom):
        raise UserError(f"{where}: auto_map: the network is defined by code of its own, which is not run; {READ}")
    if not named:
        family = FAMILIES[kind] if kind else _family(config, names, where)
        name = family.conclude(config, names.keys(), where)
        absent = " and ".join(key for key, value in (("architectures", named), ("model_type", kind)) if not value)
        return name, [f"config.json has no {absent}: read as {name}, by the tensors' names"]
    if len(named) != 1 or not isinstance(named[0], str) or named[0] not in CLASSES:
        raise UserError(f"{where}: architectures = {quoted(named)}; bertsmith reads {', '.join(CLASSES)}")
    if kind not in (None, CLASSES[named[0]].name):
        raise UserError(
            f"{where}: model_type = {quoted(kind, 60)} and architectures = {quoted(named, 100)} are two families; "
            f"correct one"
        )
    return named[0], []


def _family(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]], where: str) -> Family:
    """Return the last family that a name is of: a bare BertModel's names are a bare ElectraModel's too."""
    if other := other_family(names):
        raise UserError(f"{where}: the tensors' names are those of {other}, a family that is not read; {READ}")
    for family in reversed(FAMILIES.values()):
        if any(re.match(family.names_pattern, name) for name in names):
            family.check_recognised(config, names, where)
            return family
    first = quoted(min(names, default="none"), 80)
    raise UserError(f"{where}: no model_type, and the tensors (as {first}) are of no family that is read; {READ}")
