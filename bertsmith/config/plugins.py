"""Plugins: a user's Python files, which add to the registries of the rooms; each is loaded once.

Its sha256 is part of the identity of what it makes. A run's folder says which plugins it needs, by name and hash, and
never where they are: code is run where the user names it, and nowhere else.
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from bertsmith.errors import UserError, one_line, quoted, shortened
from bertsmith.storage.files import reported, sha256_file
from bertsmith.storage.json_files import member
from bertsmith.storage.manifests import folder_type, read_manifest

MAX_PLUGIN_BYTES = 1 << 20
IDENTITY = "plugin_hashes"  # in an identity: a plugin's file name → its sha256


class Plugin(NamedTuple):
    """A file of a user's code that was loaded."""

    name: str
    sha256: str


_loaded: dict[Path, Plugin] = {}


def load_plugin(path: str | Path) -> Plugin:
    """Run the file once, so that it registers its entries. Raises UserError where it cannot be read, fails (its line is
    named), lies in a folder that bertsmith wrote, or has changed since it was loaded."""
    shown = shortened(str(path))
    if not os.path.isfile(path):  # false of names that no file can have, too
        raise UserError(f"{shown}: no such file; a plugin is a Python file")
    place = Path(path).resolve()
    if ours := next((parent for parent in place.parents if folder_type(parent) is not None), None):
        raise UserError(f"{shown}: lies in {ours}, which bertsmith wrote; no code is run out of it: move it elsewhere")
    with reported(Path(path)), place.open("rb") as file:
        content = file.read(MAX_PLUGIN_BYTES + 1)
    if len(content) > MAX_PLUGIN_BYTES:
        raise UserError(f"{shown}: over {MAX_PLUGIN_BYTES >> 20} MB; a plugin is a Python file")
    plugin = Plugin(place.name, hashlib.sha256(content).hexdigest())
    if place in _loaded:
        if _loaded[place] != plugin:
            raise UserError(f"{shown}: has changed since it was loaded; start anew")
        return plugin
    _run(content, place, shown)
    _loaded[place] = plugin
    return plugin


def plugin_paths() -> list[str]:
    """Return the paths of all plugins that were loaded, for another process to load them too."""
    return list(map(str, _loaded))


def _run(content: bytes, place: Path, shown: str) -> None:
    """Run the content as a module of its own; what fails is named with its line."""
    module = ModuleType(f"bertsmith_plugin_{place.stem}")
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # where the annotations of its settings are looked up
    try:
        exec(compile(content, str(place), "exec"), module.__dict__)  # what was hashed
    except UserError as error:
        raise UserError(f"{shown}: {error}") from None
    except SyntaxError as error:
        raise UserError(f"{shown}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        raise UserError(_fault(error, place) or f"{shown}: {type(error).__name__}: {one_line(error)}") from error


def fault_in_plugin(error: BaseException) -> str | None:
    """Return a line about an error that came out of a plugin's code; None of any other."""
    return next((line for place in _loaded if (line := _fault(error, place))), None)


def _fault(error: BaseException, place: Path) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(place)]
    return f"{place}, line {lines[-1]}: {type(error).__name__}: {one_line(error)}" if lines else None


def plugin_identity(settings: Any) -> dict[str, dict[str, str]]:
    """Return what the plugins that are named in `settings` add to their identity, {} where there are none."""
    hashes = {}
    for path in map(Path, settings.plugins if hasattr(settings, "plugins") else ()):
        plugin = _loaded.get(path.resolve())
        hashes[path.name] = plugin.sha256 if plugin else sha256_file(path)
    return {IDENTITY: hashes} if hashes else {}


def require_plugins(run: Path) -> None:
    """Raise UserError where the run in this folder, if there is one, needs a plugin that was not loaded, or another."""
    found = folder_type(run)
    identity = {} if found is None else read_manifest(run, found).get("identity", {})
    hashes = {plugin.sha256 for plugin in _loaded.values()}
    others = {plugin.name: plugin.sha256 for plugin in _loaded.values()}
    for name, sha256 in member(identity, IDENTITY, dict, str(run / "manifest.json"), {}).items():
        if sha256 in hashes:
            continue
        needed = f"{run}: needs the plugin {quoted(name, 60)} of sha256 {str(sha256)[:16]}…"
        if name in others:
            raise UserError(f"{needed}; the one that was given has {others[name][:16]}…")
        raise UserError(f"{needed}: name it with --plugin FILE (in Python load_plugin)")


def load_recipe_plugins(values: dict[str, Any], typed: Iterable[tuple[Any, str]]) -> None:
    """Load the plugins of a recipe's `values` and those `typed` (each a list of paths, or the text of one), and put all
    of them into the values; raises UserError as `load_plugin`."""
    paths = values.get("plugins", [])
    for value, text in typed:
        paths = [*paths, *(value if isinstance(value, list) else [text])]
    if paths and isinstance(paths, list) and all(isinstance(path, str) for path in paths):  # else checking says so
        values["plugins"] = list(dict.fromkeys(paths))
        for path in values["plugins"]:
            load_plugin(path)
