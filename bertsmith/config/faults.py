"""Faults of settings in words: the key, its value, and the nearest right one."""

import difflib
from typing import Any

from bertsmith.config.schema import fields_of, keys_of, path_of, table_class
from bertsmith.errors import quoted


def fault_line(cls: type, fault: dict[str, Any], values: dict[str, Any]) -> str:
    """Return a line for one of pydantic's faults: the key's full name, the value, what is wrong."""
    path = path_of(cls, fault, values)
    key, tables = ".".join(path), path[:-1]
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{key}: no such setting; {_nearest(cls, key, tables, values)}"
    if fault["type"] in ("missing", "missing_keyword_only_argument", "missing_argument"):
        return f"{key}: needs a value, in the recipe or as {key}=… on the command line"
    if fault["type"] == "union_tag_invalid":
        return f"{key} = {quoted(fault['ctx']['tag'])}: there are {fault['ctx']['expected_tags']}"
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{key}: {reason}" if key else reason
    return f"{key} = {quoted(fault['input'])}: {reason[0].lower()}{reason[1:]}"


def _nearest(cls: type, key: str, tables: list[str], values: dict[str, Any]) -> str:
    here = list(fields_of(table_class(cls, tables, values)))
    everywhere = list(keys_of(cls))
    last = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(last, here, n=1)
    if near:
        return f"did you mean {'.'.join([*tables, near[0]])}?"
    elsewhere = [name for name in everywhere if name.rsplit(".", 1)[-1] == last]
    elsewhere = elsewhere or difflib.get_close_matches(key, everywhere, n=1)
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"there are {', '.join(here)}"
