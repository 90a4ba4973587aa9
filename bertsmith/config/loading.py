"""Recipes and command-line settings in, a checked frozen settings object out.

A recipe is a TOML file that says only what differs from the defaults. Precedence, last wins: the class's defaults, the
recipe, `key=value` from the command line. Nothing is changed after loading.
"""

import dataclasses
import difflib
import functools
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.faults import fault_line, split_override
from bertsmith.config.fields import Settings
from bertsmith.config.plugins import load_recipe_plugins, plugin_identity, require_plugins
from bertsmith.config.registry import Registry
from bertsmith.config.schema import (
    drop_inapplicable,
    drop_replaced_settings,
    expand_lists,
    fields_of,
    leaves,
    path_of,
    refuse_inapplicable,
    rename_settings,
    with_defaults,
)
from bertsmith.errors import UserError, quoted, shortened
from bertsmith.storage.files import read_text, refuse_address
from bertsmith.storage.manifests import folder_type

MAX_RECIPE_BYTES = 1 << 20


class Loaded(NamedTuple):
    """A checked settings object, with where each value came from."""

    settings: Any
    origins: dict[str, str]
    """Dotted key → its source, such as "recipe" or "command line"; a key that is absent has its default."""
    notes: tuple[str, ...] = ()  # a line for each setting that has another name now


class SettingRow(NamedTuple):
    """One line of `bertsmith show`."""

    key: str
    value: Any
    origin: str
    description: str


AddValues = Callable[[dict[str, Any], dict[str, str]], None]
"""Adds values that follow from others to a recipe's nested values and their origins, before they are checked."""


def load(
    cls: type[Settings], verb: str, recipe: str, overrides: Sequence[str] = (), add_values: AddValues | None = None
) -> Loaded:
    """Read `recipe` (a path or the name of a shipped one for `verb`), apply `overrides`, call `add_values`, check
    against `cls`.

    Raises:
        UserError: the recipe is not found or not TOML, a key is unknown (the nearest right one is named), a value has
            the wrong type or is impossible.
    """
    return apply_overrides(cls, read_recipe_values(verb, recipe), overrides, add_values)


def apply_overrides(
    cls: type[Settings], values: dict[str, Any], overrides: Sequence[str], add_values: AddValues | None = None
) -> Loaded:
    """Check `overrides` laid over a recipe's nested `values`, which are {} where there is no recipe; raises UserError
    as `load`."""
    if "plugins" in fields_of(cls):
        named = [text for key, text in (split_override(cls, given) for given in overrides) if key == "plugins"]
        overrides = [override for override in overrides if not override.startswith("plugins=")]
        load_recipe_plugins(values, [(_parse_value(text), text) for text in named])
    origins = dict.fromkeys(_flatten(values), "recipe")
    texts = {}
    for override in overrides:
        key, text = split_override(cls, override)
        _put(values, key, _parse_value(text), override)
        drop_replaced_settings(cls, values, origins, key)
        origins[key] = "command line"
        texts[key] = text
    notes = rename_settings(cls, values, origins)
    expand_lists(cls, values, origins)
    if add_values is not None:
        add_values(values, origins)
    settings = _built(cls, values, texts)
    chooses_kind = any(key.rpartition(".")[2] in ("kind", "task") for key in texts)
    if chooses_kind and drop_inapplicable(settings, values, origins):
        settings = _built(cls, values, texts)
    refuse_inapplicable(settings, texts)
    return Loaded(settings, origins, notes)


def check(cls: type[Settings], values: dict[str, Any]) -> Settings:
    """Build `cls` from nested `values`; raises UserError as `load`, with at most two faults, a line each."""
    settings = _built(cls, values, {})
    refuse_inapplicable(settings)
    return settings


def _built(cls: type[Settings], values: dict[str, Any], texts: dict[str, str]) -> Settings:
    """Build `cls` as `check` does, with settings that do not apply, which earlier versions took.

    `texts` holds command-line values as typed: one that reads as a TOML number or boolean is taken as text after all
    where the setting is text (`vocab=2024`).
    """
    from pydantic import ValidationError  # here: `show` and `--help` need not wait for it

    values = with_defaults(cls, values)
    # Checked as JSON, in which a list may become a tuple while everything else stays strict.
    adapter = _adapter(cls, Registry.num_added)  # type: ignore[arg-type]  # a class can be hashed
    for _ in range(len(texts) + 1):
        try:
            return _usable(adapter.validate_json(json.dumps(values, default=str)))
        except ValidationError as error:
            faults: list[Any] = error.errors(include_url=False)
            retyped = [
                key
                for key in (".".join(path_of(cls, fault, values)) for fault in faults if fault["type"] == "string_type")
                if key in texts
            ]
            if not retyped:
                faults.sort(key=lambda fault: fault["type"].startswith("missing"))  # what is wrong before what lacks
                raise UserError("\n".join(fault_line(cls, fault, values) for fault in faults[:2])) from None
            for key in retyped:
                _put(values, key, texts[key], key)
    raise AssertionError("unreachable: each round turns at least one value into text")


MAX_NUMBER = 10**15  # the largest of any setting: a larger one is a typing error, and overflows where it is multiplied


def _usable(settings: Settings) -> Settings:
    """Refuse values that no setting can have: numbers out of any range, addresses where a local path is meant."""
    for leaf in leaves(settings):
        for value in _values(leaf.value):
            if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
                raise UserError(f"{leaf.key} = {quoted(value)}: out of range; at most {MAX_NUMBER:.0e}")
            if isinstance(value, str) and not leaf.url:
                refuse_address(value, f"{leaf.key} = ")
    return settings


def _values(value: Any) -> Iterator[Any]:
    """Yield every single value of a setting: of a list or table each."""
    if isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _values(entry)
    else:
        yield value


@functools.cache
def _adapter(cls: Any, num_added: int) -> Any:
    """Return pydantic's adapter of `cls`, again when entries were added to registries."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def read_recipe_values(verb: str, recipe: str) -> dict[str, Any]:
    """Return the nested values of a recipe: a path that exists, else a shipped recipe's name."""
    path, name = Path(recipe), shortened(recipe)
    try:
        if path.is_file():
            values = read_toml(path)
            if folder_type(path.parent) is not None:  # no code is run because a run's folder names it
                values.pop("plugins", None)
            return values
        shipped = resources.files("bertsmith.recipes") / verb / f"{recipe}.toml"
        if shipped.is_file():
            return tomllib.loads(shipped.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    names = shipped_recipes(verb)
    near = difflib.get_close_matches(recipe.lower(), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped for {verb}: {', '.join(names)}"
    raise UserError(f"{name}: no such recipe, neither a file nor a shipped one; {hint}")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; raises UserError as `read_text`, or where no recipe can have it."""
    text, name = read_text(path, MAX_RECIPE_BYTES), shortened(str(path))
    try:
        if "\0" in text:
            raise ValueError("it holds NUL characters")
        values = tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError:
        raise UserError(f"{name}: not a recipe: its values are nested too deeply") from None
    except ValueError as error:  # not TOML; or a number of thousands of digits, which Python does not read
        fault = "a number of too many digits" if "integer string" in str(error) else error
        raise UserError(f"{name}: not a TOML recipe: {fault}") from None
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in _values(values)):
        raise UserError(f"{name}: a number out of range; at most {MAX_NUMBER:.0e}")
    return values


def read_own_recipe(cls: type[Settings], run: Path, verb: str) -> Settings:
    """Return the settings in a run's recipe.toml, which `verb` wrote; raises UserError where there is none, it is
    damaged, or needs a plugin that was not loaded."""
    require_plugins(run)
    try:
        values = read_toml(run / "recipe.toml")
        rename_settings(cls, values, {})
        return _built(cls, values, {})
    except UserError as error:
        path = "" if str(error).startswith(str(run)) else f"{run / 'recipe.toml'}: "
        first = str(error).partition("\n")[0]
        raise UserError(f"{path}{first}\nrun `bertsmith {verb}` on the folder again, which writes it anew") from None


def shipped_recipes(verb: str) -> list[str]:
    """Return the names of the recipes in the package for `verb`, sorted."""
    folder = resources.files("bertsmith.recipes") / verb
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def to_dict(settings: Any) -> dict[str, Any]:
    """Return nested values of TOML's types; settings that are None are left out, as TOML has no null."""
    values: dict[str, Any] = _without_none(json.loads(json.dumps(dataclasses.asdict(settings))))
    return values


def to_toml(settings: Any) -> str:
    """Return the recipe file that gives back `settings` exactly."""
    import tomli_w

    return tomli_w.dumps(to_dict(settings))


def rows(loaded: Loaded) -> Iterator[SettingRow]:
    """Yield every setting of a loaded recipe that is of its kind, in the order of its class."""
    for leaf in leaves(loaded.settings):
        if leaf.only:
            continue
        inside = [origin for key, origin in loaded.origins.items() if f"{key}.".startswith(f"{leaf.key}.")]
        yield SettingRow(leaf.key, leaf.value, min(inside, default="default"), leaf.description)


def set_keys(settings: Any) -> list[str]:
    """Return the dotted keys of the settings that are not at their defaults."""
    return [leaf.key for leaf in leaves(settings) if leaf.value != leaf.default]


def defaults(settings: Any) -> dict[str, Any]:
    """Return dotted key → default of the settings that have one."""
    return {leaf.key: leaf.default for leaf in leaves(settings) if leaf.default is not dataclasses.MISSING}


def identity(settings: Any) -> dict[str, Any]:
    """Return dotted key → value of the settings whose `identity` is true (see `bertsmith.config.fields.setting`)."""
    own = {leaf.key: leaf.value for leaf in leaves(settings) if leaf.identity and not leaf.only}
    return own | plugin_identity(settings)


def _without_none(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_none(value) for value in values]
    if isinstance(values, dict):
        return {key: _without_none(value) for key, value in values.items() if value is not None}
    return values


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _parse_value(text: str) -> Any:
    """Parse TOML; anything else is text, so that `corpus=data/owt` needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or a number of more digits than Python reads
        return text
    huge = any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in _values(parsed))
    return parsed["value"] if set(parsed) == {"value"} and not huge else text


def _put(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    *tables, last = key.split(".")
    for name in tables:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise UserError(f"{shortened(override)}: {name} is a single value, not a table of settings")
    values[last] = value
