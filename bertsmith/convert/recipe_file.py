"""A recipe's file out of settings that somebody has for another program: TOML below a header of comments."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tomli_w

from bertsmith.config.loading import check
from bertsmith.config.schema import keys_of, without_defaults
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.recipe import PretrainRecipe

RECIPES: dict[str, type] = {"pretrain": PretrainRecipe, "finetune": FinetuneRecipe}
NEEDED = {"pretrain": {"data": "data/owt"}, "finetune": {"model": "RUN", "data": "DATA"}}
"""Settings that a recipe leaves to the command line, with values for an example."""


class Written(NamedTuple):
    """A recipe file's text, and the verb that it is for."""

    verb: str
    text: str
    command: str
    """The command that uses it, as my.toml."""


@dataclass
class Draft:
    """A recipe of pre-training as it is put together."""

    values: dict[str, Any] = field(default_factory=dict)
    """Dotted key here → value."""
    remarks: list[str] = field(default_factory=list)
    """A line each about settings that have no counterpart here, or another meaning."""
    needed: dict[str, str] = field(default_factory=dict)
    """Settings that the command line has to give besides the data, with values for an example."""

    def note(self, name: str, remark: str) -> None:
        """Add a line about the setting `name` of the other program."""
        self.remarks.append(f"{name}: {remark}")

    def written(self, source: str) -> Written:
        """Return the recipe; `source` is the header's first line. Raises UserError where there can be no such run."""
        checked = {key: int(value) if value.isdecimal() else value for key, value in self.needed.items()}
        check(PretrainRecipe, nested(PretrainRecipe, self.values | checked) | NEEDED["pretrain"])
        # Without the values that it still needs the rest is held to the defaults key by key.
        values = without_defaults(PretrainRecipe, nested(PretrainRecipe, self.values))
        command = usage("pretrain", "my.toml", self.needed)
        comments = header([source, "", *self.remarks, "", f"    {command}"])
        return Written("pretrain", f"{comments}\n{tomli_w.dumps(values)}", command)


def header(lines: list[str]) -> str:
    """Return lines of a recipe as comments of TOML, which may hold no control characters."""
    shown = ["".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in line) for line in lines]
    return "".join(f"# {line}".rstrip() + "\n" for line in shown)


def usage(verb: str, recipe: str, more: dict[str, str] | None = None) -> str:
    """Return the command that uses the recipe; `more` are settings that it has to be given besides."""
    needed = " ".join(f"{key}={value}" for key, value in (NEEDED[verb] | (more or {})).items())
    return f"bertsmith {verb} {recipe} {needed} --out runs/my"


def nested(cls: type, dotted: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables of dotted keys, in the order of the recipe's class."""
    order = {key: place for place, key in enumerate(keys_of(cls))}
    tables: dict[str, Any] = {}
    for key in sorted(dotted, key=lambda key: order.get(key, len(order))):
        *names, last = key.split(".")
        table = tables
        for name in names:
            table = table.setdefault(name, {})
        table[last] = dotted[key]
    return tables


def flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys of nested tables, the inverse of `nested`."""
    dotted: dict[str, Any] = {}
    for name, value in tables.items():
        dotted |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return dotted
