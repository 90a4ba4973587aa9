"""Settings of google-research/electra → the text of a recipe, a TOML file."""

import json
import shlex
from typing import Any

import tomli_w

from bertsmith.config.loading import check, read_recipe_values
from bertsmith.config.schema import without_defaults
from bertsmith.convert.from_electra.finetuning import FINETUNING_TABLE
from bertsmith.convert.from_electra.hparams import Hparams, Translation, read_hparams, refuse_unknown
from bertsmith.convert.from_electra.pretraining import PRETRAINING_TABLE
from bertsmith.convert.recipe_file import NEEDED, RECIPES, Written, flat, header, nested, usage
from bertsmith.errors import UserError

COMPAT = "compat: the reference's oddities are fixed; compat = true brings them back (docs/departures.md)"


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
        check(RECIPES[translation.verb], values | NEEDED[translation.verb])
    except UserError as error:
        raise UserError("\n".join(_in_its_words(line) for line in str(error).splitlines())) from None
    return Written(translation.verb, to_text(translation, typed, values), usage(translation.verb, "my.toml"))


def translate(typed: Hparams, finetune: bool = False) -> Translation:
    """Return our settings for `typed` and the reference's defaults; see `recipe_from_electra`."""
    table, other = PRETRAINING_TABLE, FINETUNING_TABLE
    if finetune or any(name not in table.names() and name in other.names() for name in typed):
        table, other = other, table
    refuse_unknown(table, other, typed)
    return table.translate(typed)


def recipe_values(translation: Translation, compat: bool = False) -> dict[str, Any]:
    """Return the nested values that differ from our defaults; fine-tuning's are laid over the shipped recipe of the
    task."""
    cls = RECIPES[translation.verb]
    dotted = translation.values | ({"compat": True} if compat else {})
    shipped = read_recipe_values("finetune", dotted["task"]) if translation.verb == "finetune" else {}
    return without_defaults(cls, nested(cls, flat(shipped) | dotted))


def to_text(translation: Translation, typed: Hparams, values: dict[str, Any]) -> str:
    """Return the nested `values` as TOML, with a header: their source, and the settings that are left out."""
    verb = translation.verb
    script = {"pretrain": "run_pretraining.py", "finetune": "run_finetuning.py"}[verb]
    given = json.dumps(typed)
    lines = [f"google-research/electra, {script} --hparams {shlex.quote(given)}", "", *translation.remarks]
    lines += [] if values.get("compat") else [COMPAT]
    lines += ["", f"    {usage(verb, 'my.toml')}"]
    if verb == "finetune":
        lines += ["", "or, without this file:", "", f"    {usage(verb, _short(translation, values))}"]
    return f"{header(lines)}\n{tomli_w.dumps(values)}"


def _short(translation: Translation, values: dict[str, Any]) -> str:
    """Return the task's shipped recipe, and other values as key=value."""
    task = values["task"]
    shipped, values_here = flat(read_recipe_values("finetune", task)), translation.values | flat(values)
    changed = [
        key
        for key in values_here
        if values_here[key] != shipped.get(key, values_here[key]) or key in flat(values).keys() - shipped
    ]
    return shlex.join([task, *(f"{key}={json.dumps(values_here[key], separators=(',', ':'))}" for key in changed)])


def _in_its_words(fault: str) -> str:
    """Return a fault of a key here, after the reference's key that it comes from."""
    for key in (*PRETRAINING_TABLE.keys, *FINETUNING_TABLE.keys):
        if isinstance(key.here, str) and fault.startswith(f"{key.here} = "):
            return f"{key.name}: {fault}"
    return f"these hparams are no recipe here: {fault}"
