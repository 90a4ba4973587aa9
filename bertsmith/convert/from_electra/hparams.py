"""The reference's `--hparams`: read, checked by name and type, completed with its defaults, translated key by key."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import check
from bertsmith.errors import UserError
from bertsmith.storage.json_files import parse_json, read_json

Hparams = dict[str, Any]
"""The reference's settings by its names."""

MAX_SIZE = 10**12
"""Steps, rows and sizes beyond it are typing mistakes."""


class Translation(NamedTuple):
    """Our settings for those of the reference."""

    verb: str
    values: dict[str, Any]
    """Dotted key here → value, those at our defaults too."""
    remarks: list[str]
    """A line each about the settings that `values` has nothing of."""


class Key(NamedTuple):
    """One of the reference's settings, and its translation."""

    name: str
    type: Any
    default: Any
    here: str | Callable[[Hparams], dict[str, Any]] | None = None
    """A dotted key that has the same value, or a function from all settings to values of dotted keys; None where there
    is nothing to set, or another key's function does it."""
    remark: str = ""
    """For whoever typed it."""


NO_TPU = "there is no TPU here; machine.device is cpu, cuda or cuda:N"
TPU_KEYS = (
    Key("use_tpu", bool, False, None, NO_TPU),
    Key("num_tpu_cores", int, 1, None, NO_TPU),
    *(Key(name, str | None, None, None, NO_TPU) for name in ("tpu_job_name", "tpu_name", "tpu_zone", "gcp_project")),
)


class Table(NamedTuple):
    """One of the reference's two programs: all its settings in its order, and how they depend on each other."""

    title: str
    verb: str
    """Our setting, which does the same."""
    keys: Sequence[Key]
    defaults: Callable[[Hparams], Hparams]
    """All settings → the defaults that depend on others."""
    ignored: Callable[[Hparams], dict[str, str]] = lambda given: {}
    """All settings → the names of those that change nothing beside the others, and why; refuses combinations."""
    notes: Callable[[Hparams], list[str]] = lambda given: []
    """All settings → further lines about values."""

    def names(self) -> list[str]:
        return [key.name for key in self.keys]

    def translate(self, typed: Hparams) -> Translation:
        """Return our settings for `typed`, with the reference's defaults for the others. Raises UserError where a value
        has the wrong type or is impossible, alone or beside the others."""
        cls = settings_class(self.title, {key.name: (key.type, key.default) for key in self.keys})
        checked: Any = check(cls, typed)
        given = {name: getattr(checked, name) for name in self.names()}
        given |= self.defaults(given) | {name: given[name] for name in typed}
        values: dict[str, Any] = {}
        ignored, remarks = self.ignored(given), self.notes(given)
        for key in self.keys:
            if key.here is not None and key.name not in ignored:
                values |= key.here(given) if callable(key.here) else {key.here: given[key.name]}
            remark = ignored.get(key.name) or key.remark
            if key.name in typed and remark:
                remarks.append(f"{key.name}: {remark}")
        return Translation(self.verb, values, remarks)


def read_hparams(text: str) -> Hparams:
    """Return the object in `text`, which is JSON or, where it ends in .json, the path of a file of it. Raises UserError
    where there is no such file, or no JSON object in it."""
    if text.endswith(".json"):
        hparams = read_json(Path(text), dict)
    else:
        try:
            hparams = parse_json(text, "the hparams", dict)
        except UserError as error:
            reason = str(error).removesuffix("; write the file again")
            raise UserError(f"{reason}\nthey are a JSON object, or the path of its file, which ends in .json") from None
    return {name: _integers(value) for name, value in hparams.items()}


def _integers(value: Any) -> Any:
    """Return `value` with integers for numbers like 1e6."""
    if isinstance(value, dict):
        return {name: _integers(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_integers(entry) for entry in value]
    is_integer = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_SIZE
    return int(value) if is_integer else value


def refuse_unknown(table: Table, other: Table, typed: Hparams) -> None:
    """Raise UserError for a key that is not in `table`; it names the nearest one, or `other` where it is of that."""
    for name in typed:
        if name in table.names():
            continue
        if name in other.names():
            raise UserError(f"{name}: a setting of the reference's {other.title}; these are for its {table.title}")
        near = difflib.get_close_matches(name, table.names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "leave it out"
        raise UserError(f"{name}: the reference's {table.title} has no such setting; {hint}")


def settings_class(title: str, fields: Mapping[str, tuple[Any, Any]]) -> type:
    """Return a settings class of these fields: name → type and default."""
    limits: dict[Any, dict[str, Any]] = {int: {"le": MAX_SIZE}, int | None: {"le": MAX_SIZE}}
    types = {name: kind for name, (kind, _) in fields.items()}
    values = {name: setting(default, name, **limits.get(kind, {})) for name, (kind, default) in fields.items()}
    return settings(type(title, (), {"__annotations__": types, "__doc__": title, **values}))
