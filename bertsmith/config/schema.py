"""The shape of a settings class: its keys, the class of each of its tables, and settings by their earlier names;
a settings object as its single settings.

A table may be of several kinds: a field annotated with `bertsmith.config.registry.Kinds`, settings classes each with a
`kind` of its own and all other settings as it likes. A recipe chooses one by that `kind`; where it names none, it gets
the default's.
"""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from bertsmith.config.registry import Kinds
from bertsmith.errors import UserError, quoted


def table_class(cls: Any, tables: Sequence[str], values: Any) -> Any:
    """Return the settings class of a nested table of `values`; None where there is no such table."""
    for table in tables:
        name, in_list, _ = table.partition("[")
        values = values.get(name) if isinstance(values, dict) else None
        field = fields_of(cls).get(name)
        cls = None if field is None else choose(hints_of(cls)[name], field, values)
        cls = entry_class(cls) if in_list else cls
    return cls


def entry_class(hint: Any) -> Any:
    """Return the settings class of a list's tables, as of tuple[StageSettings, ...]; None for what is no such list."""
    entry = get_args(hint)[0] if get_origin(hint) is tuple and get_args(hint) else None
    return entry if dataclasses.is_dataclass(entry) else None


def fields_of(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return name → field; empty for what is no settings class."""
    return {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}


def hints_of(cls: Any) -> dict[str, Any]:
    """Return name → annotation, with the registries in it."""
    return _hints_of(cls)


@functools.cache  # checking an entry of the record asks 19,000 times, two thirds of its time
def _hints_of(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def choose(hint: Any, field: dataclasses.Field[Any], table: Any) -> Any:
    """Return `hint`; where a table may be of several kinds, the class of its kind, or the default's."""
    members = kinds_of(hint)
    if not members:
        return hint
    default = _default(field)
    kind = table.get("kind", default.kind) if isinstance(table, dict) else default.kind
    return members.get(kind) if isinstance(kind, str) else None


def kinds_of(hint: Any) -> dict[str, type]:
    """Return kind → class of a table that may be of several kinds; empty for anything else."""
    return next((entry for entry in getattr(hint, "__metadata__", ()) if isinstance(entry, Kinds)), {})


def kinds_with(cls: Any, tables: Sequence[str], name: str, values: Any) -> list[str]:
    """Return the kinds of a nested table that have the setting `name`; none where it can be of one kind only."""
    owner = table_class(cls, tables[:-1], values) if tables else None
    hint = hints_of(owner).get(tables[-1]) if fields_of(owner) else None
    return [kind for kind, member in kinds_of(hint).items() if name in fields_of(member)]


def with_defaults(cls: Any, values: Any, default: Any = None) -> Any:
    """Return `values` filled in from the defaults of their tables: the kind, and where a table is of that kind, its
    other settings where they differ from those of the class. `default` is that of the table `values`."""
    if not isinstance(values, dict) or not dataclasses.is_dataclass(cls):
        return values
    filled, hints = dict(values), hints_of(cls)
    for name, field in fields_of(cls).items():
        usual = _default(field) if default is None else getattr(default, name)
        if isinstance(values.get(name), dict):
            table = ({"kind": usual.kind} if kinds_of(hints[name]) else {}) | values[name]
            owner = choose(hints[name], field, table)
            filled[name] = with_defaults(owner, table, usual if owner is type(usual) else None)
        elif name not in values and default is not None and usual != _default(field):
            filled[name] = _plain(usual)
    return filled


def without_defaults(cls: Any, values: dict[str, Any], default: Any = None) -> dict[str, Any]:
    """Return a recipe's nested `values` without those that equal the defaults; the opposite of `with_defaults`."""
    kept, hints = {}, hints_of(cls) if fields_of(cls) else {}
    for name, value in values.items():
        field = fields_of(cls).get(name)
        usual = _default(field) if default is None or field is None else getattr(default, name)
        if isinstance(value, dict) and field:
            owner = choose(hints[name], field, value)
            same = owner is type(usual)
            value = without_defaults(owner, value, usual if same else None)
            value |= {"kind": values[name]["kind"]} if kinds_of(hints[name]) and not same else {}
        if value != usual and value != {}:
            kept[name] = value
    return kept


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _default(field: dataclasses.Field[Any] | None) -> Any:
    """Return its default; MISSING where it must be given."""
    if field is None:
        return dataclasses.MISSING
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def path_of(cls: Any, fault: dict[str, Any], values: Any) -> list[str]:
    """Return the keys that lead to a fault, a table in a list as "stages[0]". Where a table may have several kinds,
    pydantic names its kind as well."""
    path: list[str] = []
    parts = [str(part) for part in fault["loc"]]
    while parts:
        name, *parts = parts
        if path and (entry := entry_class(cls)) is not None:
            path[-1] += f"[{name}]"
            cls, values = entry, None
            continue
        field = fields_of(cls).get(name)
        hint = hints_of(cls)[name] if field else None
        values = values.get(name) if isinstance(values, dict) else None
        cls = choose(hint, field, values) if field else None
        path.append(name)
        if parts and kinds_of(hint):
            parts = parts[1:]
    return path if fault["type"] != "union_tag_invalid" else [*path, "kind"]


def keys_of(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key that there can be, of all kinds."""
    hints = hints_of(cls)
    for field in dataclasses.fields(cls):
        members = kinds_of(hints[field.name]).values() or [hints[field.name]]
        for member in members:
            if dataclasses.is_dataclass(member):
                yield from keys_of(member, f"{prefix}{field.name}.")
            else:
                yield f"{prefix}{field.name}"


def drop_replaced_settings(cls: type, values: dict[str, Any], origins: dict[str, str], key: str) -> None:
    """Drop the recipe's settings that a typed one replaces: of those that its class names as `exclusive` the others,
    and where it is a table's `kind`, those that this kind lacks. Typed ones are kept, for checking to refuse."""
    *tables, last = key.split(".")
    owner = table_class(cls, tables, values)
    for name in tables:
        values = values[name]
    replaced = values.keys() - fields_of(owner).keys() if last == "kind" and "kind" in fields_of(owner) else set()
    if last in getattr(owner, "exclusive", ()):
        replaced = values.keys() & set(owner.exclusive) - {last}
    for name in replaced:
        full = ".".join([*tables, name])
        inside = [origin for origin in origins if f"{origin}.".startswith(f"{full}.")]
        if all(origins[origin] == "recipe" for origin in inside):
            del values[name]
            for origin in inside:
                del origins[origin]


def rename_settings(cls: Any, values: dict[str, Any], origins: dict[str, str]) -> tuple[str, ...]:
    """Put settings of earlier names, see `bertsmith.config.fields.Renamed`, under those of now; return a line each."""
    notes = []
    for before, (now, translate) in getattr(cls, "renamed", {}).items():
        value = values.get(before)
        translated = translate(value) if isinstance(value, bool | int | float | str) else None
        if translated is None:
            continue
        del values[before]
        origin = origins.pop(before, "recipe")
        if now not in values or origin == "command line":
            values[now], origins[now] = translated, origin
        notes.append(f"{before}={json.dumps(value)} is written {now}={json.dumps(translated)} now")
    return tuple(notes)


def expand_lists(cls: Any, values: dict[str, Any], origins: dict[str, str]) -> None:
    """Put a list of texts in the place of one text into the list of tables that it is short for: `cls` maps such a
    setting to the tables' and their key of it in `lists`, as corpus=[a, b] to corpora=[{path=a}, {path=b}]."""
    for name, (tables, key) in getattr(cls, "lists", {}).items():
        value = values.get(name)
        # As typed, without quotes: [a, b], [a, ], [a]. But [ab]*[cd] is a pattern.
        if isinstance(value, str) and re.fullmatch(r"\[.+,.*\]|\[[^][]+\]", value) and not os.path.exists(value):
            texts = (text.strip().strip("'\"") for text in value[1:-1].split(","))
            value = [text for text in texts if text]
        if isinstance(value, list):
            del values[name]
            values[tables] = [entry if isinstance(entry, dict) else {key: entry} for entry in value]
            origins[tables] = origins.pop(name, "recipe")


class Leaf(NamedTuple):
    """One setting of nested settings, by its dotted key."""

    key: str
    value: Any
    default: Any
    description: str
    identity: bool
    url: bool
    only: tuple[str, ...]  # the tags that it applies to, where the settings have none of them


def leaves(
    settings: Any, defaults: Any = None, prefix: str = "", identity: bool = True, only: tuple[str, ...] = ()
) -> Iterator[Leaf]:
    """Yield every single setting of `settings` and of its tables, by its dotted key."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        default = field.default if defaults is None else getattr(defaults, field.name)
        if default is dataclasses.MISSING and isinstance(value, dict) and callable(field.default_factory):
            default = field.default_factory()
        matters = identity and field.metadata["identity"]
        tags = field.metadata["only"]
        applies_to = only or (tags if tags and settings.tags.isdisjoint(tags) else ())
        if dataclasses.is_dataclass(value):
            nested = default if dataclasses.is_dataclass(default) else None
            yield from leaves(value, nested, f"{prefix}{field.name}.", matters, applies_to)
        else:
            description, url = field.metadata["description"], field.metadata["url"]
            value = tuple(map(_table, value)) if entry_class(hints_of(type(settings))[field.name]) else value
            yield Leaf(f"{prefix}{field.name}", value, default, description, matters, url, applies_to)


def _table(entry: Any) -> dict[str, Any]:
    """Return one of a list's tables without what it leaves out."""
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


def refuse_inapplicable(settings: Any, typed: Iterable[str] = ()) -> None:
    """Raise UserError for a setting that does not apply to these settings, by their `tags`, and is not at its default,
    or is `typed`."""
    prefixes = tuple(f"{key}." for key in typed)
    for leaf in leaves(settings):
        if leaf.only and (leaf.value != leaf.default or f"{leaf.key}.".startswith(prefixes)):
            raise UserError(f"{leaf.key} = {quoted(leaf.value)}: only for {' or '.join(leaf.only)}; leave it out")


def drop_inapplicable(settings: Any, values: dict[str, Any], origins: dict[str, str]) -> bool:
    """Take the recipe's settings that do not apply out of `values`, where the command line chose the kind; return
    whether there were any."""
    dropped = [leaf.key for leaf in leaves(settings) if leaf.only and origins.get(leaf.key) == "recipe"]
    for key in dropped:
        *tables, last = key.split(".")
        table = values
        for name in tables:
            table = table[name]
        del table[last], origins[key]
    return bool(dropped)
