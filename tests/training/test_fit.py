"""`fit` and `Runner` on their own: the order of events, how training ends, micro-batches, memory that runs out."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import Interrupted, UserError
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.training.loop import Event, State, Step, TrainContext, fit
from bertsmith.training.machine import MachineSettings, choose_machine, evaluating
from bertsmith.training.runner import Runner
from bertsmith.training.schedules import Plan, PolynomialSettings

ROWS, LENGTH = 6, 3


class Scale(torch.nn.Module):
    """Adds up a weighted loss of each row; a sum of two micro-batches is the sum of one batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.rows: list[int] = []
        self.max_rows = ROWS

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch.tokens.num_rows)}

    def losses(self, batch: Batch) -> Losses:
        if batch.tokens.num_rows > self.max_rows:
            raise torch.OutOfMemoryError
        self.rows.append(batch.tokens.num_rows)
        return Losses({"loss": self.weight * batch.targets["values"].sum()}, self.counts(batch))

    def total(self, losses: Losses, denominators: dict[str, float]) -> torch.Tensor:
        return losses.sums["loss"] / denominators["loss"]


def batch(value: float = 1.0) -> Batch:
    ids = np.arange(ROWS * LENGTH)
    tokens = Tokens.pack(ids, np.zeros_like(ids), np.full(ROWS, LENGTH))
    return Batch(tokens, {"values": torch.arange(ROWS, dtype=torch.float32) * value})


def batches(taken: list[int] | None = None, value: float = 1.0) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    number = 0
    while True:
        number += 1
        if taken is not None:
            taken.append(number)
        yield batch(value), (number,)


def runner_of(micro_batch_rows: int | None = None) -> Runner:
    return Runner(Scale(), choose_machine(MachineSettings(device="cpu", micro_batch_rows=micro_batch_rows)))


def run(
    runner: Runner, events: list[Event], state: State, steps: int = 4, value: float = 1.0, taken=None
) -> int | None:
    optimizer = torch.optim.SGD([{"params": runner.objective.parameters(), "lr": 0.0, "lr_scale": 1.0}])
    context = TrainContext(optimizer, PolynomialSettings(), Plan(steps=steps), 1.0, LENGTH, seed=0)
    return fit(runner, batches(taken, value), context, events, state)


def test_events_act_in_their_order_at_their_steps_and_after_the_last_one():
    acted: list[tuple[str, int]] = []

    def note(name: str):
        return lambda state, step: acted.append((name, state.step))

    state, taken = State(), []
    events = [Event(1, note("each")), Event(2, note("second")), Event(3, note("third"))]
    assert run(runner_of(), events, state, steps=5, taken=taken) is None
    assert acted == [
        ("each", 1), ("each", 2), ("second", 2), ("each", 3), ("third", 3), ("each", 4), ("second", 4),
        ("each", 5), ("second", 5), ("third", 5),
    ]  # fmt: skip
    assert (state.step, state.position, state.tokens) == (5, (5,), 5 * ROWS * LENGTH)
    assert taken == [1, 2, 3, 4, 5, 6], "one more than is used"


def test_an_event_that_returns_true_makes_its_step_the_last_and_later_events_act_once_more():
    acted: list[tuple[str, int]] = []
    events = [
        Event(100, lambda state, step: acted.append(("before", state.step))),
        Event(2, lambda state, step: True),
        Event(100, lambda state, step: acted.append(("after", state.step))),
    ]
    state = State()
    assert run(runner_of(), events, state, steps=10) is None
    assert state.step == 2 and acted == [("after", 2)]


def test_a_signal_stops_after_a_whole_step_and_only_events_that_ask_for_it_act():
    acted: list[tuple[str, int]] = []

    def ask_to_stop(state: State, step: Step) -> None:
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    state, before = State(), signal.getsignal(signal.SIGTERM)
    events = [
        Event(1, ask_to_stop),
        Event(100, lambda state, step: acted.append(("other", state.step))),
        Event(100, lambda state, step: acted.append(("save", state.step)), when_stopped=True),
    ]
    with pytest.raises(Interrupted):
        run(runner_of(), events, state, steps=10)
    assert state.step == 3 and acted == [("save", 3)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_in_the_last_step_is_returned_after_all_events():
    acted: list[int] = []

    def ask_to_stop(state: State, step: Step) -> None:
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    state = State()
    events = [Event(1, ask_to_stop), Event(100, lambda state, step: acted.append(state.step))]
    assert run(runner_of(), events, state, steps=4) == signal.SIGTERM
    assert acted == [4]


def test_a_finished_plan_takes_no_batch():
    taken: list[int] = []
    assert run(runner_of(), [Event(1, lambda *_: pytest.fail("no step"))], State(step=4), taken=taken) is None
    assert taken == []


def test_steps_without_finite_gradients_are_skipped_and_too_many_stop():
    runner, state = runner_of(), State()
    with pytest.raises(UserError, match="gradients of steps 1 to 5 were not finite"):
        run(runner, [], state, steps=10, value=float("nan"))
    assert state.skipped == 5 and runner.objective.weight.item() == 1.0


@pytest.mark.parametrize("rows", [1, 4, 6, None])
def test_micro_batches_add_up_to_the_batch(rows):
    runner = runner_of(rows)
    losses = runner.gradients(runner.prepare(batch(), LENGTH))
    assert sum(runner.objective.rows) == ROWS and max(runner.objective.rows) == (rows or ROWS)
    assert losses.means() == {"loss": 2.5} and runner.objective.weight.grad == 2.5
    again = runner.gradients(runner.prepare(batch(), LENGTH))
    assert again.means() == {"loss": 2.5} and runner.objective.weight.grad == 2.5, "in place of any"
    assert runner.losses(batch(), LENGTH).means() == {"loss": 2.5}


def test_when_memory_runs_out_the_same_batch_runs_in_smaller_parts_of_this_runner_alone():
    machine = choose_machine(MachineSettings(device="cpu"))
    cramped, roomy = Runner(Scale(), machine), Runner(Scale(), machine)
    cramped.objective.max_rows = 2
    assert cramped.gradients(cramped.prepare(batch(), LENGTH)).means() == {"loss": 2.5}
    assert cramped.objective.weight.grad == 2.5 and cramped.micro_batch_rows == 1
    assert roomy.micro_batch_rows is None
    assert cramped.losses(batch(), LENGTH).means() == {"loss": 2.5}
    cramped.objective.max_rows = 0
    with pytest.raises(UserError, match="out of memory with a single row"):
        cramped.losses(batch(), LENGTH)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluating_restores_the_mode_that_was(mode):
    module = torch.nn.Sequential(torch.nn.Dropout()).train(mode)
    with pytest.raises(KeyError), evaluating(module):
        assert not module[0].training
        raise KeyError
    assert module.training is module[0].training is mode
