"""A pre-trained model's losses on held-out text: what pre-training measures, of any model and any data."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import check
from bertsmith.encoders.config import check_length
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.errors import UserError
from bertsmith.evals.pinned import pinned_losses, pinned_texts
from bertsmith.objectives.kinds import exported_objective
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.storage.remote import is_address
from bertsmith.text.segments import RowSettings
from bertsmith.text.shards import open_data
from bertsmith.training.held_out_text import held_out_text
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

DEFAULT_LENGTH = 128
"""Of rows, where a folder does not say what its model was trained on."""


@settings
class HeldOutRows:
    """Settings of the measured rows."""

    seed: int = setting(0, "of rows, masks and replacements", ge=0)
    batch_size: int = setting(128, "rows whose masks are drawn together", ge=1)
    evaluate_rows: int = setting(1024, "held-out rows; all there are if fewer", ge=1)
    compat: bool = setting(False, "as the reference also where that is odd")
    rows: RowSettings = setting(RowSettings(), "how documents become rows")


class Measuring(NamedTuple):
    """Settings that decide held-out measures, so that a run and its export have the same ones."""

    held_out: HeldOutRows
    objective: PretrainingSettings

    def describe(self, num_rows: int) -> str:
        """Return a line that says how `num_rows` rows were measured."""
        rows = self.held_out.rows
        segments = {"two_segments": "of two segments", "windows": "of one segment"}[rows.kind]
        return (
            f"measured on {num_rows:,} held-out rows {segments}, of up to {rows.length} tokens, with "
            f"{self.objective.describe_measuring()}, seed {self.held_out.seed}, batches of {self.held_out.batch_size}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as an export keeps them in config.json."""
        return asdict(self.held_out) | self.objective.measuring()


class HeldOut(NamedTuple):
    """Measures of held-out text."""

    measures: dict[str, float]
    measuring: Measuring
    rows: int


def measuring_of(recipe: PretrainRecipe) -> Measuring:
    """Return how a run of `recipe` measures."""
    values = {field.name: getattr(recipe, field.name) for field in fields(HeldOutRows)}
    return Measuring(HeldOutRows(**values), recipe.objective)


def held_out(model: Model, data: str | None, rows: int | None, machine_settings: MachineSettings) -> HeldOut:
    """Return means over `rows` held-out rows of `data`. A run is measured by its own masks and rows, on its own data
    where none is named; so is its export, by the settings in config.json. Another folder is measured by its heads, with
    15 % masked. Of data of several corpora `rows` are of each, and each has its own means as well (`HeldOutText`).

    Raises:
        UserError: no data is named and the model is no run; the data is another tokenizer's, or has nothing held out;
            the model has no head, or is a discriminator without its generator.
    """
    run = model.run
    if data is None and run is None:
        raise UserError(f"{model.path}: names no data; say what to measure: data=DIR, blimp=DIR or glue=DIR")
    path = data or (run.recipe.data if run else "")
    if data is None and not is_address(path) and not Path(path).is_dir():
        raise UserError(f"{model.path}: its data, {path}, is not there; name it: data=DIR")
    chosen, settings = measuring_of(run.recipe) if run else _exported_measuring(model)
    chosen = replace(chosen, evaluate_rows=rows or chosen.evaluate_rows)
    opened = open_data(path)
    if opened.tokenizer.fingerprint != model.tokenizer.fingerprint:
        raise UserError(f"{path}: another tokenizer's than {model.path}; prepare the text with vocab={model.path}")
    vocabulary = MaskingVocabulary.of(model.tokenizer, model.vocab_size)
    objective: Any
    if run is None:
        objective = settings.build_from(model.networks, vocabulary)
    else:
        objective = settings.build(run.recipe.model, vocabulary)
        objective.load_state_dict(run.weights)
    collator = settings.collator(vocabulary, chosen.rows.length, chosen.compat)
    text = held_out_text(opened, chosen, collator)
    if not text.batches:
        raise UserError(f"{path}: nothing to measure on; prepare it again with heldout_fraction=0.01 or so")
    machine = choose_machine(machine_settings, opened.tokenizer.pad_id)
    measures = text.measure(Runner(objective, machine), chosen.rows.length)
    if isinstance(objective, MaskedTokenModel):
        measures |= pinned_losses(objective, pinned_texts(opened, objective.encoder.settings), machine)
    return HeldOut(measures, Measuring(chosen, settings), text.num_rows)


def _exported_measuring(model: Model) -> Measuring:
    """Return how the model of a folder is measured: as config.json says that its run was, or by the defaults.

    Raises:
        UserError: config.json says what cannot be, or of rows that the model cannot hold; no objective measures it.
    """
    first, content = model.network, model.network.evaluation_settings or {}
    names = {field.name for field in fields(HeldOutRows)}
    try:
        rows = check(HeldOutRows, {name: value for name, value in content.items() if name in names})
        if first.evaluation_settings is None:
            length = first.trained_length or min(DEFAULT_LENGTH, model.length)
            kind: Any = "windows" if first.settings.num_segments < 2 else "two_segments"
            rows = HeldOutRows(rows=RowSettings(kind=kind, length=length))
        check_length(first.settings, "rows.length", rows.rows.length)
    except (UserError, ValueError) as error:
        raise UserError(f"{model.path}: measured, in config.json: {error}") from None
    others = {name: value for name, value in content.items() if name not in names}
    try:
        return Measuring(rows, exported_objective(model.networks, others))
    except UserError as error:
        raise UserError(f"{model.path}: measured, in config.json: {error}") from None
    except ValueError as error:
        raise UserError(f"{model.path}: {error}") from None
