"""What a recipe with `init` takes from the model it goes on from: its architecture.

A model's sizes are its own and are not asked for again; what a recipe or a command line says of them has to agree.
"""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from bertsmith.config.loading import MAX_NUMBER, Loaded, check, load
from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.storage.identities import differences
from bertsmith.text.segments import RowSettings
from bertsmith.training.models import Model, open_model
from bertsmith.training.recipe import PretrainRecipe

REMEDY = "leave these settings away, since a model's architecture is its own, or name another model"
GENERATOR_SIZES = ("sharing", "hidden_fraction", "layers_fraction")


def load_pretraining(recipe: str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a pre-training recipe; with `init` its architecture is the model's.

    Raises:
        UserError: as `bertsmith.config.loading.load`; there is no such model; a setting of the recipe differs from it.
    """
    return load(PretrainRecipe, "pretrain", recipe, overrides, take_architecture)


def take_architecture(values: dict[str, Any], origins: dict[str, str]) -> None:
    """Add to a recipe's nested `values` with `init` what the model there is made of. Dropout and the like are taken too
    where the recipe is silent, and may be others.

    Raises:
        UserError: there is no such model; a setting of the recipe differs from it.
    """
    init, given = values.get("init"), values.get("model", {})
    if init in (None, "") or not isinstance(given, dict):  # the latter is no table of settings, as checking will say
        return
    model = open_init(str(init))
    kind = _of(values, "objective").get("kind", "mlm")
    own = model.network.settings
    if model.run is not None and model.run.recipe.objective.kind == kind:
        own = model.run.recipe.model  # no table folded, so that all of its weights can be taken
    known = sizes(own, "") | {"kind": own.kind}
    claimed = {name: _comparable(given[name]) if name in given else known[name] for name in known}
    refuse_differences(f"init = {init}: another encoder", "model.", claimed, known)
    _fill(values, origins, "model", asdict(own))
    _fill(values, origins, "rows", _rows_for(model, own))
    if kind == "rtd":
        _take_generator(values, origins, model, own)


def open_init(init: str) -> Model:
    """Open the model that `init` names.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return open_model(Path(init))
    except UserError as error:
        raise UserError(f"init: {error}") from None


def refuse_differences(
    what: str, prefix: str, recipe: dict[str, Any], model: dict[str, Any], remedy: str | None = None
) -> None:
    """Compare what a recipe says with what a model is.

    Raises:
        UserError: they differ; each key is named.
    """
    changed = differences(*({f"{prefix}{name}": value for name, value in side.items()} for side in (recipe, model)))
    if recipe.get("kind") != model.get("kind"):  # all else follows
        changed = [line for line in changed if line.startswith(f"{prefix}kind:")]
    if changed:
        raise UserError(f"{what} (recipe → model: {'; '.join(changed)}); {remedy or REMEDY}")


def sizes(settings: EncoderConfig, prefix: str) -> dict[str, Any]:
    """Return what decides the shapes of the weights and what they compute: not dropout, nor how they were drawn, nor
    what fine-tuning reads classes from."""
    found = {field.name: getattr(settings, field.name) for field in fields(settings)}
    found |= {
        "num_attention_heads": settings.heads, "intermediate_size": settings.feed_forward,
        "embedding_size": settings.embedding,
    }  # fmt: skip
    free = ("dropout", "dropout_prob", "initializer_range", "classifier_pooling")
    return {f"{prefix}{name}": value for name, value in found.items() if not name.endswith(free)}


def fitting_generator(
    theirs: EncoderConfig, rule: GeneratorSettings, discriminator: EncoderConfig, fixed: Collection[str] = ()
) -> GeneratorSettings | None:
    """Return `rule` with as few changes as make a generator of these sizes, none of them to the `fixed` settings; None
    where nothing does."""
    width = theirs.hidden_size / discriminator.hidden_size
    depth = theirs.num_hidden_layers / discriminator.num_hidden_layers
    choices = {
        "sharing": dict.fromkeys((rule.sharing, "embeddings", "nothing")),
        "hidden_fraction": (rule.hidden_fraction, width),
        "layers_fraction": (rule.layers_fraction, depth),
    }
    for name in fixed:
        choices[name] = (getattr(rule, name),)
    for sharing, hidden, layers in product(*choices.values()):
        fitting = replace(rule, sharing=sharing, hidden_fraction=hidden, layers_fraction=layers)
        with contextlib.suppress(ValueError):  # no such encoder can be
            if max(hidden, layers) <= 1 and sizes(fitting.encoder(discriminator), "") == sizes(theirs, ""):
                return fitting
    return None


def _rows_for(model: Model, settings: EncoderConfig) -> dict[str, Any]:
    """Return the settings of rows that this model can hold, where the usual ones are too long or have too many
    segments for it."""
    usual = RowSettings()
    rows: dict[str, Any] = {}
    if model.length < usual.length:
        rows["length"] = model.length
    if usual.kind == "two_segments" and settings.num_segments == 1:
        rows["kind"] = "windows"
    return rows


def _take_generator(
    values: dict[str, Any], origins: dict[str, str], model: Model, discriminator: EncoderConfig
) -> None:
    """Add what makes a generator as wide, as deep and as shared as the model's."""
    given = _of(_of(values, "objective"), "generator")
    theirs = next((network for network in model.networks[1:] if network.head == "masked_tokens"), None)
    if theirs is None or given.get("kind", "masked_tokens") != "masked_tokens":
        return
    rule = None
    if model.run is not None:
        rule = model.run.recipe.objective.generator
    else:
        with contextlib.suppress(UserError):  # a value that cannot be, as checking will say
            fixed = [name for name in GENERATOR_SIZES if name in given]
            rule = fitting_generator(theirs.settings, check(GeneratorSettings, given), discriminator, fixed)
    if rule is not None:
        _fill(values, origins, "objective.generator", {name: getattr(rule, name) for name in GENERATOR_SIZES})


def _comparable(value: Any) -> Any:
    """Return a recipe's value as it can be compared and shown: what no setting of a model is, as text."""
    if isinstance(value, float | bool) or (isinstance(value, int) and abs(value) <= MAX_NUMBER):
        return value
    return value if isinstance(value, str) and len(value) <= 200 else quoted(value)


def _of(values: Any, table: str) -> dict[str, Any]:
    """Return a nested table of `values`; an empty one where there is none."""
    found = values.get(table, {}) if isinstance(values, dict) else {}
    return found if isinstance(found, dict) else {}


def _fill(values: dict[str, Any], origins: dict[str, str], table: str, found: dict[str, Any]) -> None:
    """Put `found` into a nested table of `values`, where this says nothing of it."""
    for name in table.split("."):
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            return
    for name, value in found.items():
        if name not in values:
            values[name] = value
            origins[f"{table}.{name}"] = "init"
