"""The reference's `--hparams`: read, checked by name and type, completed with its defaults."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import check
from bertsmith.errors import UserError
from bertsmith.storage.json_files import parse_json, read_json

Hparams = dict[str, Any]
"""The reference's settings by its names."""

MOST = 10**12
"""Steps, rows and sizes beyond it are typing mistakes."""


class Key(NamedTuple):
    """One of the reference's settings, and what it means here."""

    name: str
    type: Any
    default: Any
    here: str | Callable[[Hparams], dict[str, Any]] | None = None
    """A dotted key that has the same value, or what gives the dotted keys that follow from all settings; None where
    there is nothing to set, or another key's function does it."""
    remark: str = ""
    """For whoever typed it."""


class Table(NamedTuple):
    """All settings of one of the reference's two programs, in its order."""

    title: str
    keys: Sequence[Key]

    def names(self) -> list[str]:
        return [key.name for key in self.keys]


class Translation(NamedTuple):
    """What settings of the reference mean."""

    verb: str
    values: dict[str, Any]
    """Dotted key here → value, those at our defaults too."""
    remarks: list[str]
    """A line each about what the values do not say."""


def read_hparams(text: str) -> Hparams:
    """Return the object in `text`, which is JSON or, where it ends in .json, the path of a file of it.

    Raises:
        UserError: there is no such file; it is not JSON, or no object.
    """
    if text.endswith(".json"):
        hparams = read_json(Path(text), dict)
    else:
        try:
            hparams = parse_json(text, "the hparams", dict)
        except UserError as error:
            reason = str(error).removesuffix("; write the file again")
            raise UserError(f"{reason}\nthey are a JSON object, or the path of its file, which ends in .json") from None
    return {name: _whole(value) for name, value in hparams.items()}


def _whole(value: Any) -> Any:
    """Take 1e6 for the whole number that its writer means."""
    if isinstance(value, dict):
        return {name: _whole(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= MOST
    return int(value) if is_whole else value


def refuse_unknown(table: Table, other: Table, typed: Hparams) -> None:
    """Raises UserError for a key that is not in `table`: it names the nearest one, or `other` where it is of that."""
    for name in typed:
        if name in table.names():
            continue
        if name in other.names():
            raise UserError(f"{name}: a setting of the reference's {other.title}; these are for its {table.title}")
        near = difflib.get_close_matches(name, table.names(), n=1, cutoff=0)
        raise UserError(f"{name}: the reference's {table.title} has no such setting; did you mean {near[0]}?")


def complete(table: Table, typed: Hparams, defaults: Callable[[Hparams], Hparams]) -> Hparams:
    """All settings of `table`: those `typed`, else what `defaults` makes of them, else the table's defaults.

    Raises:
        UserError: a value has the wrong type or is impossible.
    """
    checked: Any = check(_class_of(table), typed)
    given = {name: getattr(checked, name) for name in table.names()}
    return given | defaults(given) | {name: given[name] for name in typed}


def overrides(title: str, types: dict[str, Any]) -> type:
    """Return a settings class for a setting that is itself a table: name → type; None is what was not typed."""
    return _settings_class(title, types, {name: setting(None, name) for name in types})


def _class_of(table: Table) -> type:
    limits: dict[Any, dict[str, Any]] = {int: {"le": MOST}, int | None: {"le": MOST}}
    fields = {key.name: setting(key.default, key.name, **limits.get(key.type, {})) for key in table.keys}
    return _settings_class(table.title, {key.name: key.type for key in table.keys}, fields)


def _settings_class(title: str, types: dict[str, Any], fields: dict[str, Any]) -> type:
    return settings(type(title, (), {"__annotations__": types, "__doc__": title, **fields}))


def spread(table: Table, given: Hparams, idle: dict[str, str]) -> dict[str, Any]:
    """Dotted keys here for all of `given` but those that are `idle` beside the others."""
    values: dict[str, Any] = {}
    for key in table.keys:
        if key.here is None or key.name in idle:
            continue
        values |= key.here(given) if callable(key.here) else {key.here: given[key.name]}
    return values


def remarks(table: Table, typed: Hparams, idle: dict[str, str]) -> list[str]:
    """Return a line for each key that was typed and has no counterpart, or none beside the others."""
    lines = []
    for key in table.keys:
        remark = idle.get(key.name) or key.remark
        if key.name in typed and remark:
            lines.append(f"{key.name}: {remark}")
    return lines
