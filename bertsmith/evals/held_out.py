"""A pre-trained model's losses on held-out text: what pre-training measures, of any model and any data."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bertsmith.config.loading import check
from bertsmith.encoders.config import check_length
from bertsmith.encoders.networks import MaskedTokenModel
from bertsmith.errors import UserError
from bertsmith.evals.measuring import Measuring, measuring_of
from bertsmith.evals.pinned import pinned_loss
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.text.segments import RowSettings
from bertsmith.text.shards import open_data
from bertsmith.training.evaluation import held_out_losses
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model
from bertsmith.training.pretrain import held_out_batches
from bertsmith.training.runner import Runner

DEFAULT_LENGTH = 128
"""Of rows, where a folder does not say what its model was trained on."""


class HeldOut(NamedTuple):
    """Measures of held-out text."""

    measures: dict[str, float]
    measuring: Measuring
    rows: int


def held_out(model: Model, data: str | None, rows: int | None, machine_settings: MachineSettings) -> HeldOut:
    """Return means over `rows` held-out rows of `data`. A run is measured by its own masks and rows, on its own data
    where none is named; so is its export, by the settings in config.json. Another folder is measured by its heads, with
    15 % masked.

    Raises:
        UserError: no data is named and the model is no run; the data is another tokenizer's, or has nothing held out;
            the model has no head, or is a discriminator without its generator.
    """
    if data is None and model.run is None:
        raise UserError(f"{model.path}: names no data; say what to measure: data=DIR or blimp=DIR")
    run = model.run
    measuring = _measuring(model) if run is None else measuring_of(run.recipe)
    path = data or (run.recipe.data if run else "")
    if data is None and not Path(path).is_dir():
        raise UserError(f"{model.path}: its data, {path}, is not there; name it: data=DIR")
    measuring = replace(measuring, evaluate_rows=rows or measuring.evaluate_rows)
    try:
        settings = measuring.objective_of(model.networks) if run is None else run.recipe.objective
    except ValueError as error:
        raise UserError(f"{model.path}: {error}") from None
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
    collator = settings.collator(vocabulary, measuring.rows.length, measuring.compat)
    batches = held_out_batches(opened, measuring, collator)
    if not batches:
        raise UserError(f"{path}: nothing to measure on; prepare it again with heldout_fraction=0.01 or so")
    machine = choose_machine(machine_settings, opened.tokenizer.pad_id)
    measures = held_out_losses(Runner(objective, machine), batches, measuring.rows.length)
    if isinstance(objective, MaskedTokenModel):
        measures |= pinned_loss(objective, opened, machine)
    return HeldOut(measures, measuring, sum(len(batch.tokens.row_starts) for batch in batches))


def _measuring(model: Model) -> Measuring:
    """Return how the model of a folder is measured: as config.json says that its run was, or by the defaults.

    Raises:
        UserError: config.json says what cannot be, or of rows that the model cannot hold.
    """
    network = model.network
    if network.measured is None:
        length = network.trained_length or min(DEFAULT_LENGTH, model.length)
        rows_kind: Literal["windows", "two_segments"] = (
            "windows" if network.settings.num_segments == 1 else "two_segments"
        )
        return Measuring(rows=RowSettings(kind=rows_kind, length=length))
    try:
        measuring = check(Measuring, network.measured)
        check_length(network.settings, "rows.length", measuring.rows.length)
    except (UserError, ValueError) as error:
        raise UserError(f"{model.path}: measured, in config.json: {error}") from None
    return measuring
