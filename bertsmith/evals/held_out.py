"""A pre-trained model's losses on held-out text: what pre-training measures, of any model and any data."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from bertsmith.config.loading import check
from bertsmith.encoders.networks import MaskedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.evals.measuring import Measuring, measuring_of
from bertsmith.objectives.cross_entropy import VocabularyCrossEntropy
from bertsmith.objectives.generator import GeneratorSettings, MaskedTokenGenerator
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.objectives.rtd import ReplacedTokensSettings
from bertsmith.text.segments import RowSettings
from bertsmith.text.shards import open_data
from bertsmith.training.evaluation import held_out_losses
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model
from bertsmith.training.plan import Plan
from bertsmith.training.pretrain import build_collator, build_objective, held_out_batches
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

DEFAULT_LENGTH = 128
"""Of rows, where a folder does not say what its model was trained on."""


class HeldOut(NamedTuple):
    """Measures of held-out text."""

    measures: dict[str, float]
    measuring: Measuring
    rows: int


def held_out(model: Model, data: str | None, rows: int | None, machine_settings: MachineSettings) -> HeldOut:
    """Means over `rows` held-out rows of `data`. A run is asked what it was trained on, with its own masks and rows,
    on its own data where none is named; so is its export, which says how in config.json. Another folder is asked what
    its heads are for, with 15 % masked.

    Raises:
        UserError: no data is named and the model is no run; the data is another tokenizer's, or has nothing held out;
            the model has no head, or is a discriminator without its generator.
    """
    if data is None and model.run is None:
        raise UserError(f"{model.path}: names no data; say what to measure: data=DIR or blimp=DIR")
    recipe = model.run.recipe if model.run else _recipe(model, data)
    if data is None and not Path(recipe.data).is_dir():
        raise UserError(f"{model.path}: its data, {recipe.data}, is not there; name it: data=DIR")
    recipe = replace(recipe, data=data or recipe.data, evaluate_rows=rows or recipe.evaluate_rows)
    found = open_data(recipe.data)
    if found.tokenizer.fingerprint != model.tokenizer.fingerprint:
        raise UserError(
            f"{recipe.data}: another tokenizer's than {model.path}; prepare the text with vocab={model.path}"
        )
    objective = _objective(model, recipe)
    batches = held_out_batches(found, recipe, build_collator(recipe, model.tokenizer, model.vocab_size))
    if not batches:
        raise UserError(f"{recipe.data}: nothing to measure on; prepare it again with heldout_fraction=0.01 or so")
    machine = choose_machine(machine_settings, found.tokenizer.pad_id)
    measures = held_out_losses(Runner(objective, machine), batches, recipe.rows.length)
    return HeldOut(measures, measuring_of(recipe), sum(len(batch.tokens.row_starts) for batch in batches))


def _recipe(model: Model, data: str) -> PretrainRecipe:
    """As if the folder's model had been trained by us: by its heads, with what it says of its run, or the defaults."""
    said = None if model.network.measured is None else _measuring(model)
    heads = [network.head for network in model.networks]
    if heads == ["masked_tokens"]:
        objective = MaskedTokensSettings(**({"masking": said.masking} if said else {}))
    elif heads == ["replaced_tokens", "masked_tokens"] and not model.network.is_energy_head:
        generator = GeneratorSettings(
            kind="uniform",  # its own comes later
            **({"temperature": said.temperature, "disallow_correct": said.disallow_correct} if said else {}),
        )
        objective = ReplacedTokensSettings(generator=generator, **({"masking": said.masking} if said else {}))
    elif heads[0] == "replaced_tokens":
        raise UserError(
            f"{model.path}: a discriminator without the generator that it was trained beside; name the run, or a "
            f"folder that holds the folders discriminator and generator"
        )
    else:
        raise UserError(f"{model.path}: no masked-token head, so no loss; pre-train it, or name the folder before "
                        f"fine-tuning")  # fmt: skip
    length = model.network.trained_length or min(DEFAULT_LENGTH, model.length)
    settings = model.network.settings
    kind = "windows" if settings.num_segments == 1 else "two_segments"
    said = said or Measuring(rows=RowSettings(kind=kind, length=length))
    return PretrainRecipe(
        data=data, model=settings, objective=objective, rows=said.rows, seed=said.seed, batch_size=said.batch_size,
        evaluate_rows=said.evaluate_rows, compat=said.compat, plan=Plan(steps=1),
    )  # fmt: skip


def _measuring(model: Model) -> Measuring:
    try:
        return check(Measuring, model.network.measured)
    except UserError as error:
        raise UserError(f"{model.path}: measured, in config.json: {error}") from None


def _objective(model: Model, recipe: PretrainRecipe) -> PretrainingObjective:
    objective = build_objective(recipe, model.tokenizer, model.vocab_size)
    if model.run:
        objective.load_state_dict(model.run.weights)
        return objective
    objective.load_state_dict(model.network.weights)
    if len(model.networks) == 2:
        whole = model.networks[1].build()
        objective.generator = _WholeGenerator(whole, recipe.objective.generator)
    return objective


class _WholeGenerator(MaskedTokenGenerator):
    """A generator that borrows nothing."""

    def __init__(self, model: MaskedTokenModel, settings: GeneratorSettings):
        nn.Module.__init__(self)
        self.settings = replace(settings, kind="masked_tokens")
        self.cross_entropy = VocabularyCrossEntropy(settings.temperature, settings.disallow_correct)
        self.model = model
        self.head = model.head

    def vectors(self, tokens: Tokens, positions: Tensor, discriminator: nn.Module) -> Tensor:
        return self.model.vectors(tokens, positions)

    def table(self, discriminator: nn.Module) -> Tensor:
        return self.model.table
