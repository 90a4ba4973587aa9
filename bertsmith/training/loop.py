"""`fit`, the one training loop, and the State it carries."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bertsmith.console.signals import leave_terminal, stop_signals
from bertsmith.errors import Interrupted, UserError
from bertsmith.memory import Surplus
from bertsmith.objectives.objective import Batch, Losses, Objective
from bertsmith.training.optimizers.optimizer import WeightAverage, set_learning_rate
from bertsmith.training.ranks import Ranks
from bertsmith.training.runner import PreparedBatch, Runner
from bertsmith.training.schedules import HeadWarmup, Plan, ScheduleSettings

MAX_SKIPPED_IN_A_ROW = 5
"""Steps without finite gradients, one after the other, before training stops."""


@dataclass
class State:
    """The state of training besides model and optimizer."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Spent in steps, over all resumptions."""
    position: tuple[int, ...] = ()
    """The beginning of the next batch in the data, as the iterator of batches counts it."""
    skipped: int = 0
    """Steps whose gradients were not finite."""
    skipped_in_a_row: int = 0

    def done(self, plan: Plan) -> float:
        """Return how much of the plan is done, in its unit."""
        return plan.done(self.step, self.tokens, self.seconds)

    def progress(self, plan: Plan) -> float:
        """Return how much of the plan is done, from 0 to 1."""
        return plan.progress(self.step, self.tokens, self.seconds)


class Step(NamedTuple):
    """The results of a step, for the events."""

    losses: Losses
    learning_rate: float
    gradient_norm: float
    tokens: int
    is_stopping: bool = False
    """Whether training was asked to stop, and ends after this step's events: no time for long ones."""


class Event(NamedTuple):
    """A function called after every `every`-th step and after the last one. Where it returns true this step is the
    last one, and all events after it in their list act as well."""

    every: int
    act: Callable[[State, Step], bool | None]
    when_stopped: bool = False
    """True calls it also when training is asked to stop."""


class TrainContext(NamedTuple):
    """Optimizer, schedule, plan and settings of `fit`."""

    optimizer: torch.optim.Optimizer
    schedule: ScheduleSettings
    plan: Plan
    clip_norm: float
    length: int
    """Longest row, in tokens."""
    seed: int
    compat: bool = False
    """The first step's learning rate is 0, as in the reference."""
    static_shapes: bool = True
    """True pads rows to `length`, where they are padded; False to a multiple of 32 that holds the batch's longest."""
    head_warmup: HeadWarmup = HeadWarmup()
    average: WeightAverage | None = None

    def padded_length(self, batch: Batch) -> int:
        return self.length if self.static_shapes else min(self.length, -(-batch.tokens.max_seqlen // 32) * 32)


def fit(
    runner: Runner[Objective],
    batches: Iterator[tuple[Batch, tuple[int, ...]]],
    context: TrainContext,
    events: Sequence[Event],
    state: State,
) -> int | None:
    """Train from `state.step` to the end of the plan, or to the step that an event makes the last; every event sees the
    state after its step. Returns the signal that asked to stop when the last step was begun, and nothing was left to
    stop here; None where there was none.

    Args:
        runner: of the objective.
        batches: without end, from `state.position` on: a batch and the position after it. One more is taken than used.
        events: in the order in which they act.
        state: changed in place.

    Raises:
        Interrupted: one of `stop_signals` came; the state is that of a whole step.
        UserError: several steps in a row had gradients that are not finite.
    """
    plan, machine, ranks = context.plan, runner.machine, runner.ranks
    surplus = Surplus() if machine.device.type == "cpu" else None
    runner.objective.train()

    def prepare() -> tuple[PreparedBatch, tuple[int, ...]]:
        batch, position = next(batches)
        return runner.prepare(batch, context.padded_length(batch)), position

    with _stop_requests(ranks) as requests:
        warm, last_seconds = not machine.compile, 1.0
        last = state.progress(plan) >= 1.0
        if not last:
            upcoming = prepare()
        while not last:
            started_at = time.perf_counter()
            prepared, position = upcoming
            losses, norm, rate = _launch(runner, prepared, context, state, last_seconds)
            new_rate = context.head_warmup.rate(state.step)
            upcoming = prepare()  # while a GPU is at work
            used = rate if new_rate is None else new_rate
            step = Step(losses, used, float(norm), prepared.batch.tokens.num_tokens)
            if math.isfinite(step.gradient_norm):
                set_learning_rate(context.optimizer, rate, new_rate)
                context.optimizer.step()
                if context.average is not None:
                    context.average.update(state.step)
            last_seconds = time.perf_counter() - started_at if warm else 1.0
            # One clock for all ranks, and none stops without the others.
            last_seconds, asked = ranks.largest([last_seconds * ranks.is_first, max(requests, default=0)])
            state.seconds += last_seconds if warm else 0.0  # a first step that compiles is start-up
            warm = True
            state.step += 1
            state.tokens += step.tokens
            _check_finite(state, step, position)
            state.position = position
            last = state.progress(plan) >= 1.0
            if surplus is not None:
                surplus.after_step()
            stopped = asked > 0 and not last
            step = step._replace(is_stopping=stopped)
            for event in events:
                if last or state.step % event.every == 0 or (stopped and event.when_stopped):
                    last = event.act(state, step) or last
            if stopped and not last:
                ranks.wait_for_all()  # the first may still be writing, and torchrun ends all when one has ended
                raise Interrupted(int(asked))
        (asked,) = ranks.largest([max(requests, default=0)])
        return int(asked) or None


def _launch(
    runner: Runner[Objective], prepared: PreparedBatch, context: TrainContext, state: State, seconds: float
) -> tuple[Losses, Tensor, float]:
    """Launch forward and backward; return losses, the gradients' norm and this step's learning rate. `seconds` is how
    long the step is expected to take."""
    before = state.progress(context.plan)
    tokens = prepared.batch.tokens.num_tokens
    after = context.plan.progress(state.step + 1, state.tokens + tokens, state.seconds + seconds)
    rate = context.schedule.rate(before, after, context.compat)
    torch.manual_seed(runner.ranks.dropout_seed(context.seed, state.step))
    losses = runner.gradients(prepared)
    return losses, runner.clip_gradients(context.clip_norm), rate


def _check_finite(state: State, step: Step, position: tuple[int, ...]) -> None:
    if math.isfinite(step.gradient_norm):
        state.skipped_in_a_row = 0
        return
    state.skipped += 1
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row == MAX_SKIPPED_IN_A_ROW:
        raise UserError(
            f"the gradients of steps {state.step - MAX_SKIPPED_IN_A_ROW + 1} to {state.step} were not finite "
            f"(data from {state.position} to {position}); lower schedule.learning_rate, or look at those rows"
        )


@contextmanager
def _stop_requests(ranks: Ranks) -> Iterator[list[int]]:
    """Collect signals that ask to stop. A second one acts at once, except SIGHUP, of which a closed terminal sends
    several, and where there are several ranks: torchrun and a batch system may each send one."""
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in stop_signals()}

    def note(number: int, frame: object) -> None:
        requests.append(number)
        leave_terminal(number)
        if number != signal.SIGHUP and ranks.size == 1:
            signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, note)
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
