"""`bertsmith show` without a name: the verbs, the shipped recipes, and the settings that have no recipe; and of a verb
all of its settings."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, get_type_hints

from bertsmith.cli.usage import SETTINGS, settings_classes
from bertsmith.config.loading import shipped_recipes
from bertsmith.console.terminal import say, say_table

WITH_RECIPES = ("prepare", "pretrain", "finetune")


def show_overview(verbs: Mapping[str, Any]) -> list[object]:
    """Print what there is to choose from: the program's `verbs` (name → the parser's command), recipes and settings;
    return the words of a command to go on with."""
    say_table("verbs", ("verb", "what it does"), [
        (name, " ".join((verb.help or "").split())) for name, verb in verbs.items()
    ], box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for verb in WITH_RECIPES:
        say()
        lines = [(name, _first_line(verb, name)) for name in shipped_recipes(verb)]
        say_table(f"recipes of `{verb}`", ("recipe", "what it is"), lines, box=None, padding=(0, 2, 0, 0))
    say("\nsettings (key=value) of the other verbs; `bertsmith show VERB` says what they mean")
    for verb, keys in _own_settings().items():
        say(f"  {verb}: {', '.join(keys)}")
    return ["show", "bert-small-owt"]


def show_verb(verb: str) -> list[object]:
    """Print every setting of `verb`, one of `usage.SETTINGS`; return the words of a command to go on with."""
    rows = [row for cls in settings_classes(verb) for row in _settings(cls)]
    say_table(
        f"settings of `bertsmith {verb}`", ("setting", "default", "meaning"), rows, box=None, padding=(0, 2, 0, 0)
    )
    return [verb, "--help"]


def _own_settings() -> dict[str, list[str]]:
    """Return the settings that no recipe has, of each verb without recipes of its own: verb → keys."""
    known = {key for verb in WITH_RECIPES for cls in settings_classes(verb) for key, *_ in _settings(cls)}
    keys = {
        verb: [key for cls in settings_classes(verb) for key, *_ in _settings(cls)]
        for verb in SETTINGS
        if verb not in (*WITH_RECIPES, "plan")
    }
    of_recipes = ("tokenizer", "search", "glue")
    return {
        verb: list(dict.fromkeys(key for key in found if verb not in of_recipes or key not in known))
        for verb, found in keys.items()
    }


def _settings(cls: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each setting; of a table of several kinds those of its usual one."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        table = type(default) if dataclasses.is_dataclass(default) else hints[field.name]
        if dataclasses.is_dataclass(table):
            yield from _settings(table, f"{prefix}{field.name}.")
            continue
        shown = "needed" if default is dataclasses.MISSING else "–"
        if default not in (None, dataclasses.MISSING):
            shown = json.dumps(default, ensure_ascii=False)
        yield f"{prefix}{field.name}", shown, field.metadata["description"]


def _first_line(verb: str, name: str) -> str:
    text = (resources.files("bertsmith.recipes") / verb / f"{name}.toml").read_text(encoding="utf-8")
    line = text.split("\n")[0].removeprefix("#").strip()
    return line if line.endswith((".", ")", "?")) else f"{line} …"
