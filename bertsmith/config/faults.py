"""Faults of settings in words: the key, its value, and the nearest right one."""

import difflib
import os
from pathlib import Path
from typing import Any

from bertsmith.config.registry import BY_PLUGIN
from bertsmith.config.schema import entry_class, fields_of, keys_of, kinds_with, path_of, table_class
from bertsmith.errors import UserError, quoted, shortened
from bertsmith.storage.manifests import folder_type

OTHER_NAMES = {
    "lr": "learning_rate", "max_steps": "steps", "num_train_epochs": "epochs", "warmup_ratio": "warmup_proportion",
    "max_seq_length": "sequence_length",
}  # fmt: skip
"""Settings' names in other programs → here."""


def split_override(cls: type, override: str) -> tuple[str, str]:
    """Return key and value of a setting of `cls` from the command line, both as typed; raises UserError where it is not
    key=value, which for a folder or file names the setting it is probably meant for."""
    if not override.isascii() and override.encode(errors="replace").decode() != override:
        raise UserError(f"{shortened(override)}: not UTF-8; rename the file or folder")
    key, equals, text = override.partition("=")
    if not equals or not key or not all(part.replace("-", "_").isidentifier() for part in key.split(".")):
        name = "" if equals else _setting_of(cls, override)
        raise UserError(
            f"{shortened(override)}: a setting on the command line is written key=value, "
            + (
                f"did you mean {name}={shortened(override)}?" if name else
                "as in plan.steps=1000; a name with a point in it goes into a table, as in "
                "several.folders=\"{'squad-v1.1'='data/squad'}\""
            )
        )  # fmt: skip
    return key, text


def _setting_of(cls: type, path: str) -> str:
    """Return the setting of `cls` that a path is meant for; empty where there is nothing, or no such setting."""
    if not os.path.exists(path):
        return ""
    files = (os.path.join(path, name) for name in ("config.json", "manifest.json"))
    is_data = folder_type(Path(path)) == "data" or not any(map(os.path.isfile, files))
    names = ("corpus", "data") if is_data else ("init", "model", "vocab")
    return next((name for name in names if name in fields_of(cls)), "")


def fault_line(cls: type, fault: dict[str, Any], values: dict[str, Any]) -> str:
    """Return a line for one of pydantic's faults: the key's full name, the value, what is wrong."""
    path = path_of(cls, fault, values)
    key, tables = ".".join(path), path[:-1]
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if others := kinds_with(cls, tables, path[-1], values):
            table, kind = ".".join(tables), table_class(cls, tables, values).kind
            remedy = f"add {table}.kind={' or '.join(others)}, or leave it out"
            return f"{key}: no such setting of {table}.kind = {kind}; {remedy}"
        return f"{key}: no such setting; {_nearest(cls, key, tables, values)}"
    if fault["type"] in ("missing", "missing_keyword_only_argument", "missing_argument"):
        return f"{key}: needs a value" + ("" if "[" in key else f", in the recipe or as {key}=… on the command line")
    if fault["type"] == "tuple_type" and (entry := entry_class(table_class(cls, path, values))) is not None:
        return f"{key} = {quoted(fault['input'])}: not a list of tables; {_as_tables(key, entry)}"
    if fault["type"] == "dataclass_type" and key.endswith("]"):
        remedy = _as_tables(key.rpartition("[")[0], table_class(cls, path, values))
        return f"{key} = {quoted(fault['input'])}: not a table; {remedy}"
    if fault["type"] == "union_tag_invalid":
        return f"{key} = {quoted(fault['ctx']['tag'])}: there are {fault['ctx']['expected_tags']}; {BY_PLUGIN}"
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {reason}" if key else reason
    return f"{key} = {quoted(fault['input'])}: {reason[0].lower()}{reason[1:]}"


def _as_tables(key: str, entry: type) -> str:
    """Return how a list of tables of the class `entry` is written."""
    table = ", ".join(f"{name}=…" for name in fields_of(entry))
    return f"[[{key}]] in a recipe, or {key}='[{{{table}}}]'"


def _nearest(cls: type, key: str, tables: list[str], values: dict[str, Any]) -> str:
    here, everywhere = list(fields_of(table_class(cls, tables, values))), list(keys_of(cls))
    last = key.rpartition(".")[2]
    last = OTHER_NAMES.get(last, last)
    near = difflib.get_close_matches(last, here, n=1)
    elsewhere = [name for name in everywhere if name.rpartition(".")[2] == last]
    if near and (near[0] == last or "[" in key or not elsewhere):  # this very name, in another table, is meant first
        return f"did you mean {'.'.join([*tables, near[0]])}?"
    if "[" in key:  # what a list's tables have is nowhere else
        return f"there are {', '.join(here)}"
    elsewhere.sort(key=lambda name: (name.count("."), len(name)))
    elsewhere = elsewhere or difflib.get_close_matches(key, everywhere, n=1)
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"there are {', '.join(here)}"
