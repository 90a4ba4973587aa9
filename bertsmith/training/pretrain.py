"""Pre-training: a data folder in, a run folder with checkpoints out (ARCHITECTURE.md lists its files)."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bertsmith.config.loading import to_dict
from bertsmith.console.progress import progress_bar
from bertsmith.errors import Interrupted, UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.randomness import derived_seed
from bertsmith.storage.files import Held, locked, make_folder
from bertsmith.storage.folders import checkpoint_folders, leaving_no_empty_folder
from bertsmith.text.shards import Data, open_data
from bertsmith.training import checkpoints
from bertsmith.training.batches import prefetch
from bertsmith.training.beginning import check_same_on_all, open_folder, read_beginning, say_beginning
from bertsmith.training.branching import decaying_from
from bertsmith.training.dealing import check_ranks
from bertsmith.training.folder import (
    finish_run,
    note_events,
    note_start,
)
from bertsmith.training.held_out_text import held_out_text
from bertsmith.training.loop import Event, State, Step, TrainContext, fit
from bertsmith.training.machine import choose_machine
from bertsmith.training.metrics import MetricsLog, NoLog
from bertsmith.training.optimizers.optimizer import WeightAverage
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner
from bertsmith.training.schedules import HeadWarmup
from bertsmith.training.staged_rows import StagedRows, build_collator
from bertsmith.training.stages import Stage, stage_at
from bertsmith.training.train_logger import PeriodicProbe, Probe, TrainLogger

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer


def pretrain(
    recipe: PretrainRecipe,
    run: Path,
    overwrite: bool = False,
    probes: Sequence[Probe | PeriodicProbe] = (),
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train as `recipe` says, from where the folder `run` stands, to the plan's end; returns the last measures.

    Args:
        probes: called at each held-out evaluation, in their order.
        ranks: the processes that train together, each of which calls this. The first owns the folder.

    Raises:
        UserError: the data, the model of `init`, the run of `branch` or the optimizer cannot be used, `run` belongs to
            another recipe (the differing keys are named) or to another process, memory or disk is full, the gradients
            are not finite; the batch cannot be dealt to the ranks, or they differ.
        RankLost: another rank has ended.
        Interrupted: by SIGTERM or SIGINT, after a checkpoint was written; in the last step, after the run was finished.
    """
    data = open_data(recipe.data, check=ranks.local_rank == 0)
    _check_data(data, recipe)
    check_ranks(recipe, ranks)
    machine = choose_machine(recipe.machine, data.tokenizer.pad_id, ranks=ranks)
    objective = initial_objective(recipe, data.tokenizer)
    rows = StagedRows(data, recipe)
    beginning = read_beginning(rows, run, overwrite, objective)
    check_same_on_all(rows, beginning, machine)
    with _locked_by_first(run, ranks) as held:
        opened = open_folder(run, rows, machine, beginning, objective, overwrite)
        checkpoint = opened.checkpoint
        note_start(rows, objective, machine)
        say_beginning(beginning, opened, machine)
        runner = Runner(objective, machine, recipe.machine.shard)
        weights, dealt = runner.weights, runner.sharding.dealt if runner.sharding else None
        optimizer = recipe.make_optimizer(weights, beginning.new_parameters, dealt)
        state = State() if checkpoint is None else checkpoints.restore(checkpoint, weights, optimizer, runner.dealt)
        average = WeightAverage(weights, optimizer, recipe.average_decay) if recipe.average_decay else None
        schedule = decaying_from(recipe, beginning.branch) if beginning.branch else recipe.schedule
        context = TrainContext(
            optimizer, schedule, recipe.plan, recipe.optimizer.clip_norm, recipe.rows.length, recipe.seed,
            recipe.compat, average=average,
            head_warmup=recipe.head_warmup if beginning.new_parameters else HeadWarmup(),
        )  # fmt: skip
        with (
            closing(_open_log(run, state.step, recipe, ranks)) as log,
            progress_bar("pretrain", recipe.plan.total, state.done(recipe.plan)) as bar,
        ):
            note_events(run, log.files)
            logger = TrainLogger(recipe, runner, log, bar, probes, average)
            held_out = held_out_text(data, recipe, build_collator(recipe, data.tokenizer))
            logger.start(state)
            if beginning.message and checkpoint is None:
                logger.evaluate(held_out, state)

            def save(state: State, step: Step) -> None:
                if held is not None:
                    held.check()
                    log.sync()
                if held is not None or runner.sharding is not None:
                    checkpoints.save(run, state, weights, optimizer, recipe.plan.keep_checkpoints, runner.dealt)
                ranks.wait_for_all()

            saving = Event(recipe.plan.checkpoint_steps, save, when_stopped=True)
            with _naming_the_last_checkpoint(held, state):
                asked_to_stop = _fit_stages(rows, context, logger, [*logger.events(held_out), saving], state)
        summary = finish_run(run, state, logger.measures) if ranks.is_first else {}
    if asked_to_stop is not None:
        raise Interrupted(asked_to_stop)
    return summary


def _fit_stages(
    rows: StagedRows, context: TrainContext, logger: TrainLogger, events: list[Event], state: State
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


@contextmanager
def _locked_by_first(run: Path, ranks: Ranks) -> Iterator[Held | None]:
    """Make the folder `run` and lock it, on the first rank; give it there, and None on the others. All ranks leave it
    together: the first may still be writing when others are done."""
    with ExitStack() as stack:
        if ranks.is_first:
            stack.enter_context(leaving_no_empty_folder(run))
        yield stack.enter_context(locked(make_folder(run))) if ranks.is_first else None
        ranks.wait_for_all()


def _open_log(run: Path, step: int, recipe: PretrainRecipe, ranks: Ranks) -> MetricsLog | NoLog:
    return MetricsLog(run, step, recipe.log, to_dict(recipe)) if ranks.is_first else NoLog()


@contextmanager
def _naming_the_last_checkpoint(held: Held | None, state: State) -> Iterator[None]:
    """Add to an error, or to being stopped, where the run can be continued from."""
    try:
        yield
    except Interrupted as error:
        is_saved = held is not None and state.step in checkpoint_folders(held.path)  # a second signal cuts it short
        raise Interrupted(error.number, f"at step {state.step:,}, which is saved" if is_saved else "") from None
    except UserError as error:
        if held is None:
            raise
        held.check()
        last = list(checkpoint_folders(held.path).values())[-1:]
        raise UserError(f"{error}\nlast checkpoint: {last[0] if last else 'none'}") from None


def _check_data(data: Data, recipe: PretrainRecipe) -> None:
    length = max(stage.rows.length for stage in recipe.all_stages)
    if data.num_tokens("train") < length:
        raise UserError(
            f"{data.address}: {data.num_tokens('train')} training tokens, less than one row of {length}; "
            f"prepare more text or lower rows.length"
        )
