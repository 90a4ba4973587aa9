"""What a recipe with `init` takes from the model it goes on from: its architecture.

A model's sizes are its own and are not asked for again; what a recipe or a command line says of them has to agree.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertsmith.config.loading import MAX_NUMBER, Loaded, load
from bertsmith.console.shell import command
from bertsmith.console.terminal import say
from bertsmith.encoders.config import EncoderConfig, refuse_differences
from bertsmith.errors import UserError, quoted
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.text.segments import RowSettings
from bertsmith.training.models import Model, open_model
from bertsmith.training.recipe import PretrainRecipe


def load_pretraining(recipe: str, overrides: Sequence[str] = ()) -> Loaded:
    """Load a pre-training recipe; with `init` its architecture is the model's.

    Raises:
        UserError: as `bertsmith.config.loading.load`; there is no such model; a setting of the recipe differs from it.
    """
    loaded = load(PretrainRecipe, "pretrain", recipe, overrides, take_architecture)
    for note in loaded.notes:
        say(note, error=True)
    return loaded


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
    encoder = model.network.settings
    if model.run is not None and model.run.recipe.objective.kind == kind:
        encoder = model.run.recipe.model  # no table folded, so that all of its weights can be taken
    known = encoder.sizes() | {"kind": encoder.kind}
    claimed = {name: _comparable(given[name]) if name in given else known[name] for name in known}
    given_sizes = [origins.get(f"model.{name}") for name in known if claimed[name] != known[name]]
    remedy = None if "command line" in given_sizes else _continue_instead(values)
    refuse_differences(f"init = {init}: another encoder", "model.", claimed, known, remedy)
    _fill(values, origins, "model", asdict(encoder))  # type: ignore[call-overload]  # each is a dataclass
    _fill(values, origins, "rows", _rows_for(model, encoder))
    if isinstance(kind, str) and kind in OBJECTIVES:  # otherwise checking will say so
        given = _of(values, "objective")
        objective: type[PretrainingSettings] = OBJECTIVES[kind]
        others = objective.fit_to(given, encoder, model.networks, model.run and model.run.recipe.objective)
        for table, settings in others.items():
            _fill(values, origins, f"objective.{table}", settings)


def _continue_instead(values: dict[str, Any]) -> str:
    """Return the command that does with any model what a recipe with sizes of its own does with one."""
    words = [f"init={values['init']}"]
    for table, name in (("objective", "kind"), ("rows", "length")):
        if name in (nested := _of(values, table)):
            words.append(f"{table}.{name}={nested[name]}")
    begun = command("bertsmith", "pretrain", "continue", *words)
    return f"the recipe is for that shape alone; `{begun} data=… --out …` takes any"


def open_init(init: str) -> Model:
    """Open the model that `init` names.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return open_model(Path(init))
    except UserError as error:
        raise UserError(f"init: {error}") from None


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


def _comparable(value: Any) -> Any:
    """Return a recipe's value as it can be compared and shown: what no setting of a model is, as text."""
    if isinstance(value, float | bool) or (isinstance(value, int) and abs(value) <= MAX_NUMBER):
        return value
    return value if isinstance(value, str) and len(value) <= 200 else quoted(value)


def _of(values: Any, table: str) -> dict[str, Any]:
    """Return a nested table of `values`; an empty one where there is none."""
    nested = values.get(table, {}) if isinstance(values, dict) else {}
    return nested if isinstance(nested, dict) else {}


def _fill(values: dict[str, Any], origins: dict[str, str], table: str, settings: dict[str, Any]) -> None:
    """Put `settings` into a nested table of `values`, where this says nothing of them."""
    for name in table.split("."):
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            return
    for name, value in settings.items():
        if name not in values:
            values[name] = value
            origins[f"{table}.{name}"] = "init"
