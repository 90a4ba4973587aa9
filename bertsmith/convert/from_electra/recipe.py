"""Settings of google-research/electra → the text of a recipe, a TOML file."""

import json
import shlex
from typing import Any, NamedTuple

from bertsmith.config.loading import check, read_recipe_values
from bertsmith.config.schema import keys_of, without_defaults
from bertsmith.convert.from_electra import finetuning, pretraining
from bertsmith.convert.from_electra.hparams import Hparams, Translation, read_hparams, refuse_unknown
from bertsmith.errors import UserError

NEEDED = {"pretrain": ("data",), "finetune": ("model", "data")}
"""Settings that a recipe leaves to the command line."""

COMPAT = "compat: the reference's oddities are fixed; compat = true brings them back (docs/departures.md)"


class Written(NamedTuple):
    """A recipe file's text, and the verb that it is for."""

    verb: str
    text: str


def recipe_from_electra(hparams: str, *, finetune: bool = False, compat: bool = False) -> Written:
    """Return the recipe for `hparams` (JSON, or a path that ends in .json).

    They are fine-tuning's where one of them is, or with `finetune`; else pre-training's. `compat`: with the reference's
    oddities.

    Raises:
        UserError: they cannot be read, a key is unknown or of the other program, a value is impossible, or there is no
            such thing here.
    """
    typed = read_hparams(hparams)
    translation = translate(typed, finetune)
    values = recipe_values(translation, compat)
    try:
        check(_class_of(translation.verb), values | dict.fromkeys(NEEDED[translation.verb], "..."))
    except UserError as error:
        raise UserError("\n".join(_in_its_words(line) for line in str(error).splitlines())) from None
    return Written(translation.verb, to_text(translation, typed, values))


def translate(typed: Hparams, finetune: bool = False) -> Translation:
    """Return our settings for `typed` and the reference's defaults; see `recipe_from_electra`."""
    table, other = pretraining.TABLE, finetuning.TABLE
    if finetune or any(name not in table.names() and name in other.names() for name in typed):
        table, other = other, table
    refuse_unknown(table, other, typed)
    return table.translate(typed)


def recipe_values(translation: Translation, compat: bool = False) -> dict[str, Any]:
    """Return the nested values that differ from our defaults; fine-tuning's are laid over the shipped recipe of the
    task."""
    cls = _class_of(translation.verb)
    dotted = translation.values | ({"compat": True} if compat else {})
    shipped = read_recipe_values("finetune", dotted["task"]) if translation.verb == "finetune" else {}
    return without_defaults(cls, _nested(cls, _flat(shipped) | dotted))


def to_text(translation: Translation, typed: Hparams, values: dict[str, Any]) -> str:
    """Return the nested `values` as TOML, with a header: their source, and the settings that are left out."""
    import tomli_w

    verb = translation.verb
    script = {"pretrain": "run_pretraining.py", "finetune": "run_finetuning.py"}[verb]
    lines = [f"google-research/electra, {script} --hparams {shlex.quote(_ascii(typed))}", "", *translation.remarks]
    lines += [] if values.get("compat") else [COMPAT]
    lines += ["", f"    {usage(verb, 'my.toml')}"]
    if verb == "finetune":
        lines += ["", "or, without this file:", "", f"    {usage(verb, _short(translation, values))}"]
    header = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return f"{header}\n{tomli_w.dumps(values)}"


def _short(translation: Translation, values: dict[str, Any]) -> str:
    """Return the task's shipped recipe, and what it lacks as key=value."""
    task = values["task"]
    shipped, values_here = _flat(read_recipe_values("finetune", task)), translation.values | _flat(values)
    changed = [
        key
        for key in values_here
        if values_here[key] != shipped.get(key, values_here[key]) or key in _flat(values).keys() - shipped
    ]
    return shlex.join([task, *(f"{key}={json.dumps(values_here[key], separators=(',', ':'))}" for key in changed)])


def _in_its_words(fault: str) -> str:
    """Return a fault of a key here, after the reference's key that it comes from."""
    for key in (*pretraining.TABLE.keys, *finetuning.TABLE.keys):
        if isinstance(key.here, str) and fault.startswith(f"{key.here} = "):
            return f"{key.name}: {fault}"
    return f"these hparams are no recipe here: {fault}"


def usage(verb: str, recipe: str) -> str:
    """Return the command that uses the recipe."""
    needed = {"pretrain": "data=data/owt", "finetune": "model=RUN data=DATA"}[verb]
    return f"bertsmith {verb} {recipe} {needed} --out runs/my"


def _class_of(verb: str) -> type:
    if verb == "pretrain":
        from bertsmith.training.recipe import PretrainRecipe

        return PretrainRecipe
    from bertsmith.tasks.recipe import FinetuneRecipe

    return FinetuneRecipe


def _ascii(typed: Hparams) -> str:
    return json.dumps(typed).replace("\x7f", "\\u007f")  # the one character of ASCII that JSON leaves and TOML forbids


def _nested(cls: type, dotted: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables, in the order of the recipe's class."""
    order = {key: place for place, key in enumerate(keys_of(cls))}
    nested: dict[str, Any] = {}
    for key in sorted(dotted, key=lambda key: order.get(key, len(order))):
        *tables, last = key.split(".")
        table = nested
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = dotted[key]
    return nested


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
