"""Pre-training: a data folder in, a run folder with checkpoints out (ARCHITECTURE.md lists its files)."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bertsmith.config.loading import to_dict
from bertsmith.console.progress import Progress, format_count, progress_bar
from bertsmith.console.terminal import say
from bertsmith.encoders.config import training_flops
from bertsmith.errors import Interrupted, UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import NO_LOSSES, Batch, Collator, PretrainingObjective
from bertsmith.randomness import derived_seed
from bertsmith.storage.files import Held, locked, make_folder
from bertsmith.storage.folders import checkpoint_folders, no_empty_folder
from bertsmith.text.shards import Data, open_data
from bertsmith.training import checkpoints
from bertsmith.training.batches import RowStream, masked_batch, prefetch
from bertsmith.training.branching import begin_branch, decaying_from, open_branch
from bertsmith.training.folder import (
    finish_run,
    newest_checkpoint,
    note_events,
    note_pooling,
    note_start,
    note_threads,
    open_run,
)
from bertsmith.training.initial import open_init_weights, set_weights
from bertsmith.training.loop import Event, State, Step, TrainContext, fit
from bertsmith.training.machine import choose_machine
from bertsmith.training.metrics import Meter, MetricsLog, with_deviations
from bertsmith.training.optimizers.optimizer import WeightAverage
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.run_warnings import RunWarnings, mean_cosine
from bertsmith.training.runner import Runner, held_out_losses
from bertsmith.training.schedules import HeadWarmup, Plan
from bertsmith.training.staged_rows import StagedRows, build_collator
from bertsmith.training.stages import Stage, stage_at

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer

Probe = Callable[[PretrainingObjective, Callable[[str], None]], dict[str, float]]
"""A function called with the model at each held-out evaluation: it returns measures, which are logged with the losses,
may show lines below them with its second argument, and leaves the model as it was."""


class PeriodicProbe(NamedTuple):
    """A probe that takes minutes: it is called at the evaluation that comes next after each `steps`, and at the last;
    never with averaged weights. Its time is not the run's."""

    steps: int
    """0: at the last alone."""
    probe: Probe
    skipped: str = "a measure was due, and is left out"
    """The warning where a run that is stopping has no time for it: what is left out, and how to have it after all."""

    def is_due(self, state: State, plan: Plan) -> bool:
        """Return whether it is to be called at the evaluation after this step."""
        before = max(0, state.step - plan.evaluate_steps)
        passed = self.steps > 0 and state.step // self.steps > before // self.steps
        return passed or state.progress(plan) >= 1.0


@no_empty_folder
def pretrain(
    recipe: PretrainRecipe, run: Path, overwrite: bool = False, probes: Sequence[Probe | PeriodicProbe] = ()
) -> dict[str, Any]:
    """Train as `recipe` says, from where the folder `run` stands, to the plan's end; returns the last measures.

    `probes` are called at each held-out evaluation, in their order.

    Raises:
        UserError: the data, the model of `init`, the run of `branch` or the optimizer cannot be used, `run` belongs to
            another recipe (the differing keys are named) or to another process, memory or disk is full, the gradients
            are not finite.
        Interrupted: by SIGTERM or SIGINT, after a checkpoint was written; in the last step, after the run was finished.
    """
    data = open_data(recipe.data)
    _check_data(data, recipe)
    machine = choose_machine(recipe.machine, data.tokenizer.pad_id)
    objective = initial_objective(recipe, data.tokenizer)
    state_shapes = recipe.optimizer_state_shapes(objective)
    initial = None if recipe.init is None else open_init_weights(recipe, data.tokenizer, run)
    new_parameters, init_message = set_weights(objective, initial) if initial else (frozenset(), "")
    branch = open_branch(recipe, data.hash, run, overwrite)
    inputs = {"init": initial.fingerprint} if initial else {"branch": branch.fingerprint} if branch else {}
    make_folder(run)
    with locked(run) as held:
        old_manifest = open_run(run, recipe, data, machine, inputs, overwrite)
        note_pooling(run, initial and initial.pooling)
        rows = StagedRows(data, recipe)
        checkpoint = newest_checkpoint(run, objective, state_shapes, rows.check)
        checkpoint = checkpoint or (branch and begin_branch(run, recipe, branch, rows.check))
        note_start(data, objective, machine, recipe.plan)
        if init_message and checkpoint is None:
            say(init_message, error=True)
        runner = Runner(objective, machine)
        optimizer = recipe.make_optimizer(objective, new_parameters)
        state = State() if checkpoint is None else checkpoints.restore(checkpoint, objective, optimizer)
        if checkpoint is not None:
            say(f"continuing from {checkpoint.path} (step {state.step:,})", error=True)
            note_threads(old_manifest, machine.device)
        average = WeightAverage(objective, optimizer, recipe.average_decay) if recipe.average_decay else None
        schedule = decaying_from(recipe, branch) if branch else recipe.schedule
        context = TrainContext(
            optimizer, schedule, recipe.plan, recipe.optimizer.clip_norm, recipe.rows.length, recipe.seed,
            recipe.compat, head_warmup=recipe.head_warmup if new_parameters else HeadWarmup(), average=average,
        )  # fmt: skip
        with (
            closing(MetricsLog(run, state.step, recipe.log, to_dict(recipe))) as log,
            progress_bar("pretrain", recipe.plan.total, state.done(recipe.plan)) as bar,
        ):
            note_events(run, log.trackers.files)
            logger = TrainLogger(recipe, runner, log, bar, probes, average)
            held_out = held_out_batches(data, recipe, build_collator(recipe, data.tokenizer))
            logger.start(state)
            if init_message and checkpoint is None:
                logger.evaluate(held_out, state)

            def save(state: State, step: Step) -> None:
                held.check()
                log.sync()
                checkpoints.save(run, state, objective, optimizer, recipe.plan.keep_checkpoints)

            saving = Event(recipe.plan.checkpoint_steps, save, when_stopped=True)
            with _naming_the_last_checkpoint(held, state):
                asked_to_stop = _fit_stages(rows, context, logger, [*logger.events(held_out), saving], state)
        summary = finish_run(run, state, logger.measures)
    if asked_to_stop is not None:
        raise Interrupted(asked_to_stop)
    return summary


def _fit_stages(
    rows: StagedRows, context: TrainContext, logger: "TrainLogger", events: list[Event], state: State
) -> int | None:
    """Call `fit` for each stage that is left, with shapes of its own; see there. `events` end with the one that saves,
    which acts at a stage's end too."""
    begun = state.step
    while True:  # a step may end a short stage together with the one before it
        number = stage_at(rows.stages, state.tokens)
        stage = rows.stages[number]
        if state.step > begun:
            logger.runner.forget_shapes()
        logger.begin_stage(number, rows.stages, state)
        ends = Event(1, partial(_has_ended, stage))
        with closing(prefetch(rows.batches(number, state))) as batches:
            stage_context = context._replace(length=stage.rows.length)
            asked_to_stop = fit(logger.runner, batches, stage_context, [*events[:-1], ends, events[-1]], state)
        if state.progress(context.plan) >= 1.0:
            break
        if asked_to_stop is not None:
            raise Interrupted(asked_to_stop)
    if state.step > begun and number + 1 < len(rows.stages):
        logger.warn(
            state.step,
            f"the plan ended in stage {number + 1} of {len(rows.stages)}, so no step had "
            f"{rows.stages[-1].describe()}; shorten `stages` or lengthen the plan",
        )  # fmt: skip
    return asked_to_stop


def _has_ended(stage: Stage, state: State, step: Step) -> bool:
    return state.tokens >= stage.end


def initial_objective(recipe: PretrainRecipe, tokenizer: "Tokenizer") -> PretrainingObjective:
    """Return the model with its initial weights, which follow from the recipe's seed."""
    torch.manual_seed(derived_seed(recipe.seed, "weights"))
    return recipe.objective.build(recipe.model, MaskingVocabulary.of(tokenizer))


def held_out_batches(data: Data, recipe: Any, collator: Collator) -> list[Batch]:
    """Return the same masked held-out rows at every call; none where nothing was held out. `recipe` is one, or another
    object with its settings of rows."""
    if not data.num_tokens("heldout"):
        say(f"{data.path}: nothing was held out; there will be no evaluation", error=True)
        return []
    stream = RowStream(data, "heldout", recipe.rows, recipe.seed, recipe.compat)
    rows = stream.first(recipe.evaluate_rows, recipe.batch_size)
    return [masked_batch(stream, collator, part, number, progress=1.0) for number, part in enumerate(rows)]


class TrainLogger:
    """The log of a run: losses between two lines of metrics, added up, and held-out evaluations."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        runner: Runner[PretrainingObjective],
        log: MetricsLog,
        bar: Progress,
        probes: Sequence[Probe | PeriodicProbe],
        average: WeightAverage | None,
    ):
        self.recipe, self.runner, self.log, self.bar = recipe, runner, log, bar
        self.periodic = [probe for probe in probes if isinstance(probe, PeriodicProbe)]
        self.probes = [probe for probe in probes if not isinstance(probe, PeriodicProbe)]
        self.average = average
        self.meter = Meter(runner.machine)
        self.run_warnings = RunWarnings(recipe, self.warn)
        self.total = NO_LOSSES
        self.means = ""
        self.measures: dict[str, float] = {}

    def events(self, held_out: list[Batch]) -> list[Event]:
        """Return when it acts, and in which order."""
        plan = self.recipe.plan
        return [
            Event(1, self.add),
            Event(plan.log_steps, self.log_training),
            Event(plan.evaluate_steps, lambda state, step: self.evaluate(held_out, state, step.is_stopping)),
        ]

    def start(self, state: State) -> None:
        self.meter.start(state.tokens, state.seconds)
        self.run_warnings.before_training(state)

    def begin_stage(self, number: int, stages: Sequence[Stage], state: State) -> None:
        """Note the stage that begins or goes on here: what a token costs, and in a run of several which one it is."""
        stage = stages[number]
        flops = self.runner.objective.flops_per_token(stage.rows.length)
        self.meter.set_cost(state.tokens, training_flops(flops))
        if len(stages) > 1:
            after = f"after {format_count(state.tokens)} tokens" if state.tokens else "from the beginning"
            self.bar.line(f"stage {number + 1} of {len(stages)}, {after}: {stage.describe()}")

    def warn(self, step: int, text: str) -> None:
        """Show a warning, and keep it beside the metrics."""
        self.log.warn(step, text)
        self.bar.line(f"warning: {text}")

    def add(self, state: State, step: Step) -> None:
        if math.isfinite(step.gradient_norm):
            self.total += step.losses
        self.run_warnings.after_step(state)
        self.bar.update(state.done(self.recipe.plan), f"step {state.step:,}{self.means}")

    def log_training(self, state: State, step: Step) -> None:
        rates = self.meter.read(state.tokens, state.seconds)
        losses = self.total.means()
        self.total = NO_LOSSES
        self.log.write("train", state.step, {
            "tokens": state.tokens, "seconds": round(state.seconds, 3), **losses, "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm, "skipped_steps": state.skipped, **rates,
        })  # fmt: skip
        named = ", ".join(f"{name.replace('_', ' ')} {losses[name]:.3f}" for name in losses if name.endswith("_loss"))
        rate = rates["tokens_per_second"]
        self.means = f", {named}" + ("" if rate is None else f", {format_count(rate)} tokens/s")

    def evaluate(self, batches: list[Batch], state: State, is_stopping: bool = False) -> None:
        length = self.recipe.rows.length
        shown: list[str] = []
        self.measures = self._measure(batches, shown.append)
        if self.average is not None:
            with self.average.applied():
                of_average = self._measure(batches, lambda line: None)
            self.measures |= {f"averaged_{name}": value for name, value in of_average.items()}
        for each in self.periodic:
            if not each.is_due(state, self.recipe.plan):
                continue
            if is_stopping:
                self.warn(state.step, each.skipped)
            else:
                self.measures |= each.probe(self.runner.objective, shown.append)
        if not self.measures:
            return
        cosine = mean_cosine(self.runner, batches[0], length) if batches else None
        alike = {} if cosine is None else {"hidden_cosine": cosine}
        self.log.write(
            "heldout", state.step, {"tokens": state.tokens, "seconds": state.seconds, **self.measures, **alike}
        )
        prefix = self.recipe.objective.metric_prefix
        self.bar.line(f"step {state.step:,}: held-out " + ", ".join(
            f"{name.removeprefix(prefix).replace('_', ' ')} {value}"
            for name, value in with_deviations(self.measures).items()
        ))  # fmt: skip
        for line in shown:
            self.bar.line(line)
        if cosine is not None:
            self.run_warnings.after_evaluation(state, self.measures, batches, cosine)

    def _measure(self, batches: list[Batch], show: Callable[[str], None]) -> dict[str, float]:
        measures = held_out_losses(self.runner, batches, self.recipe.rows.length) if batches else {}
        for probe in self.probes:
            measures |= probe(self.runner.objective, show)
        return measures


@contextmanager
def _naming_the_last_checkpoint(held: Held, state: State) -> Iterator[None]:
    """Add to an error, or to being stopped, where the run can be continued from."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.number, f"at step {state.step:,}, which is saved") from None
    except UserError as error:
        held.check()
        last = list(checkpoint_folders(held.path).values())[-1:]
        raise UserError(f"{error}\nlast checkpoint: {last[0] if last else 'none'}") from None


def _check_data(data: Data, recipe: PretrainRecipe) -> None:
    length = max(stage.rows.length for stage in recipe.all_stages)
    if data.num_tokens("train") < length:
        raise UserError(
            f"{data.path}: {data.num_tokens('train')} training tokens, less than one row of {length}; "
            f"prepare more text or lower rows.length"
        )
