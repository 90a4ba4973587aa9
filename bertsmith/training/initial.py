"""What a pre-training recipe with `init` takes from that model: its architecture, then its weights.

The model's sizes are its own and need not be given again; sizes in a recipe or on the command line have to agree.
Optimizer, schedule and State begin anew, which is not what resuming does (docs/continuing.md).
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bertsmith.config.loading import MAX_NUMBER, Loaded, load
from bertsmith.console.shell import command, quote
from bertsmith.console.terminal import say
from bertsmith.encoders.config import EncoderConfig, refuse_differences
from bertsmith.errors import UserError, quoted
from bertsmith.hub.heads import HEADS
from bertsmith.hub.network import Network
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.objectives.objective import PretrainingObjective, PretrainingSettings
from bertsmith.objectives.rtd import NETWORKS
from bertsmith.text.segments import RowSettings
from bertsmith.training.models import Model, fingerprint, open_model, sentence_modules
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.stages import steps_of_stages

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer


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
    config = model.network.settings
    if model.run is not None and model.run.recipe.objective.kind == kind:
        config = model.run.recipe.model  # no table folded, so that all of its weights can be taken
    known = config.sizes() | {"kind": config.kind}
    claimed = {name: _comparable(given[name]) if name in given else known[name] for name in known}
    given_sizes = [origins.get(f"model.{name}") for name in known if claimed[name] != known[name]]
    remedy = None if "command line" in given_sizes else _continue_instead(values)
    refuse_differences(f"init = {init}: another encoder", "model.", claimed, known, remedy)
    _fill(values, origins, "model", asdict(config))  # type: ignore[call-overload]  # each is a dataclass
    _fill(values, origins, "rows", _rows_for(model, config))
    if isinstance(kind, str) and kind in OBJECTIVES:  # otherwise checking will say so
        given = _of(values, "objective")
        objective: type[PretrainingSettings] = OBJECTIVES[kind]
        others = objective.fit_to(given, config, model.networks, model.run and model.run.recipe.objective)
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
    """Return the settings of rows that this model can hold, where the usual ones are too long for it; of the kind that
    its run had, else of windows where it tells no two segments apart, as encoders without them are trained."""
    usual = RowSettings()
    rows: dict[str, Any] = {}
    if model.length < usual.length:
        rows["length"] = model.length
    if model.run is not None:
        rows["kind"] = model.run.recipe.rows.kind
    elif settings.num_segments < 2:
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


_BY_TOKEN = ("embeddings.token.weight", "head.bias")
"""Ends of the names of weights with a row for each token of the vocabulary."""


class InitWeights(NamedTuple):
    """A model that fits a recipe and its data."""

    recipe: PretrainRecipe
    networks: list[Network]
    """The encoder's first, then the generator's if the recipe trains one and the model has one; their vocabulary is the
    data's."""
    weights: dict[str, Tensor] | None
    """All weights as the recipe's objective names them, where the model is a run that trained the same networks."""
    notes: list[str]
    """On parts of the model that are not used."""
    fingerprint: str
    """Fingerprint of the model as it was opened."""
    pooling: dict[str, Any] | None = None
    """For the run's manifest, from sentence-transformers' files beside the model."""


def open_init_weights(recipe: PretrainRecipe, tokenizer: "Tokenizer", run: Path) -> InitWeights:
    """Open the model that `recipe.init` names, for data with this tokenizer and a run to be made in `run`.

    Raises:
        UserError: there is no such model; its vocabulary is not the beginning of the data's; its sizes are not the
            recipe's; the recipe trains a generator, and the model is an ELECTRA's discriminator without it.
    """
    if not recipe.init:
        raise UserError("init is empty: this recipe goes on from a model; name it with init=PATH")
    if Path(recipe.init).resolve() == run.resolve():
        raise UserError(f"init = {recipe.init}: the run itself; leave init away to resume it, or choose another --out")
    model = open_init(recipe.init)
    weights = None
    if model.run is not None and recipe.model.sizes() == model.run.recipe.model.sizes():
        weights = model.run.weights if recipe.objective.has_networks_of(model.run.recipe.objective) else None
    chosen, notes = _choose(recipe, model) if weights is None else (model.networks, ["dropped: nothing"])
    pieces = _new_tokens(recipe, model, tokenizer)
    if pieces:
        notes.append(f"{len(pieces):,} tokens are new; their vectors begin as the means of their pieces'")
    if model.vocab_size > model.tokenizer.vocab_size:
        notes.append(
            f"{model.vocab_size - model.tokenizer.vocab_size} rows of its token table belong to no token: dropped"
        )
    known = model.tokenizer.vocab_size
    networks = [
        replace(network, vocab_size=tokenizer.vocab_size, weights=_with_tokens(network.weights, known, pieces))
        for network in chosen
    ]
    weights = None if weights is None else _with_tokens(weights, known, pieces)
    model_fingerprint = fingerprint(model.tokenizer, {
        f"{network.name}.{name}": tensor for network in model.networks for name, tensor in network.weights.items()
    })  # fmt: skip
    pooling, note = _pooling(model)
    notes += [note] if note else []
    return InitWeights(recipe, networks, weights, notes, model_fingerprint, pooling)


def _pooling(model: Model) -> tuple[dict[str, Any] | None, str | None]:
    """Return the settings to keep of the model's sentence-transformers files, and a note about them."""
    from bertsmith.hub.sentence import after_training

    modules, left_out = sentence_modules(model)
    if left_out is not None:
        return None, f"left out: sentence-transformers' files: {left_out}"
    return after_training(modules) if modules is not None else (None, None)


def set_weights(objective: PretrainingObjective, initial: InitWeights) -> tuple[frozenset[str], str]:
    """Put the model's weights in place of the objective's random ones; return the names of those that stay random, and
    lines that say what was taken, dropped and is new.

    Raises:
        UserError: the two networks do not share what the recipe makes them share; new weights would learn alone until
            the plan ends.
    """
    random = objective.state_dict()
    weights, new = (random | initial.weights, []) if initial.weights is not None else _joined(initial, random)
    untrained = frozenset(name for name, tensor in weights.items() if tensor.data_ptr() == random[name].data_ptr())
    objective.load_state_dict(weights)
    warmup, plan = initial.recipe.head_warmup, initial.recipe.plan
    counts = steps_of_stages(initial.recipe.all_stages, plan)
    steps = sum(count or 0 for count in counts)
    notes = list(initial.notes)
    if untrained and counts[-1] is not None and warmup.steps >= steps:  # which a plan in hours does not say
        fault = f"head_warmup.steps = {warmup.steps} of a plan of {steps:,} steps"
        remedy = f"only {', '.join(new)} would learn; lower it, or lengthen the plan"
        if plan.steps:
            raise UserError(f"{fault}: {remedy}")
        notes.append(f"warning: {fault}, or more where rows are not full: {remedy}")
    learns = f", which for {warmup.steps} steps learns alone" if new and warmup.steps else ""
    notes.append(f"new, with random weights: {', '.join(new) or 'nothing'}{learns}")
    return untrained, "\n  ".join([f"starting from {initial.recipe.init}", *notes])


def _joined(initial: InitWeights, random: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the objective's weights out of the networks', and the parts that they lack, which keep their `random`
    weights."""
    objective, (first, *others) = initial.recipe.objective, initial.networks
    trained = first.weights if objective.takes_head_of(first) else first.encoder_weights
    try:
        return objective.init_from(random, trained, others[0].weights if others else None)
    except ValueError as error:
        raise UserError(f"init = {initial.recipe.init}: {error}") from None


def _choose(recipe: PretrainRecipe, model: Model) -> tuple[list[Network], list[str]]:
    """Return the model's networks that the recipe trains, and what is dropped."""
    settings, first = recipe.objective, model.network
    what = f"init = {recipe.init}: another encoder"
    refuse_differences(what, "model.", recipe.model.sizes(), first.settings.sizes())
    dropped = ["pooler"] if first.pooler else []
    chosen = [first]
    others = settings.other_networks(recipe.model, model.networks, str(recipe.init), model.run is not None)
    made = [other for other in others if other.name not in {network.name for network in model.networks}]
    if not settings.takes_head_of(first):
        chosen = [replace(first, head=None, weights=first.encoder_weights)]
        dropped += [] if first.head is None or made else [HEADS[first.head].title]
    chosen += others
    names = {network.name for network in chosen}
    dropped += [network.name for network in model.networks if network.name not in names]
    dropped += [] if model.run is None else model.run.recipe.objective.unexported
    dropped += sorted({kind for network in model.networks for kind in network.dropped.values()})
    begun = [
        f"its first {other.settings.num_hidden_layers} layers and its head are what the {other.name} begins with"
        for other in made
    ]
    return chosen, [*begun, f"dropped: {', '.join(dropped) or 'nothing'}"]


def _new_tokens(recipe: PretrainRecipe, model: Model, tokenizer: "Tokenizer") -> list[list[int]]:
    """Return the model's ids for each token of the data that the model does not have."""
    from bertsmith.tokenizers.extension import extends, pieces_of

    if not extends(tokenizer, model.tokenizer):
        path = Path(str(recipe.init))
        place = path if (path / "tokenizer.json").is_file() else path / NETWORKS[0]
        raise UserError(
            f"{recipe.data}: its vocabulary is neither that of init = {recipe.init} nor an extension of it; prepare "
            f"the text with vocab={place}, or with what `bertsmith tokenizer … {quote(f'extend={place}')}` makes of it"
        )
    known = model.tokenizer.vocab_size
    return [pieces_of(tokenizer, id, model.tokenizer) for id in range(known, tokenizer.vocab_size)]


def _with_tokens(weights: dict[str, Tensor], known: int, pieces: list[list[int]]) -> dict[str, Tensor]:
    """Return weights for `known` tokens and one more for each of `pieces`."""
    changed = dict(weights)
    for name, rows in weights.items():
        if f".{name}".endswith(tuple(f".{end}" for end in _BY_TOKEN)):
            added = [rows[ids].mean(dim=0) for ids in pieces]
            changed[name] = torch.cat([rows[:known], torch.stack(added)]) if added else rows[:known]
    return changed
