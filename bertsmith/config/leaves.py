"""A settings object as its single settings: dotted keys, values, and the settings that are of another kind."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from bertsmith.errors import UserError, quoted


class Leaf(NamedTuple):
    """One setting of an object with settings in it."""

    key: str
    value: Any
    default: Any
    description: str
    identity: bool
    url: bool
    only: tuple[str, ...]  # the kinds that it belongs to, where the settings are of none of them


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
        kinds = field.metadata["only"]
        others = only or (kinds if kinds and settings.kinds.isdisjoint(kinds) else ())
        if dataclasses.is_dataclass(value):
            nested = default if dataclasses.is_dataclass(default) else None
            yield from leaves(value, nested, f"{prefix}{field.name}.", matters, others)
        else:
            description, url = field.metadata["description"], field.metadata["url"]
            yield Leaf(f"{prefix}{field.name}", value, default, description, matters, url, others)


def refuse_other_kinds(settings: Any, typed: Iterable[str] = ()) -> None:
    """Raise UserError for a setting of another kind than these settings have, which is not at its default, or
    `typed`."""
    prefixes = tuple(f"{key}." for key in typed)
    for leaf in leaves(settings):
        if leaf.only and (leaf.value != leaf.default or f"{leaf.key}.".startswith(prefixes)):
            raise UserError(f"{leaf.key} = {quoted(leaf.value)}: only for {' or '.join(leaf.only)}; leave it out")


def drop_other_kinds(settings: Any, values: dict[str, Any], origins: dict[str, str]) -> bool:
    """Take the recipe's settings of other kinds out of `values`, where the command line chose the kind; return whether
    there were any."""
    dropped = [leaf.key for leaf in leaves(settings) if leaf.only and origins.get(leaf.key) == "recipe"]
    for key in dropped:
        *tables, last = key.split(".")
        table = values
        for name in tables:
            table = table[name]
        del table[last], origins[key]
    return bool(dropped)
