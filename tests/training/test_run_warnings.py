"""What a run is warned of, and what it is not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.objective import Batch
from bertsmith.objectives.rtd import ReplacedTokensSettings
from bertsmith.training.loop import State
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.metrics import read_metrics
from bertsmith.training.pretrain import pretrain
from bertsmith.training.run_warnings import RunWarnings, mean_cosine, standing_still
from bertsmith.training.runner import Runner
from tests.toys import random_tokens, tiny_recipe

RATES = ("schedule.learning_rate=0.5", "schedule.warmup_proportion=0", "optimizer.clip_norm=0")
EACH_STEP = ("plan.steps=8", "plan.evaluate_steps=1", "plan.log_steps=8", "plan.checkpoint_steps=8")


@pytest.mark.parametrize(
    ("scores", "constant", "why"),
    [
        ([0.02, 0.047, 0.048, 0.048], 0.047, "the commonest answer has 0.047"),
        ([0.30, 0.31, 0.048, 0.049, 0.048, 0.049], 0.02, "had been at 0.310"),
        ([0.30, 0.30, 0.30, 0.30], 0.05, ""),
        ([0.047, 0.047, 0.048], 0.047, None),  # too few to tell
        ([0.047, 0.047, 0.048, 0.12], 0.047, None),
        ([0.05, 0.30, 0.60, 0.601, 0.6005, 0.602], 0.05, None),  # has learnt, and is at its best
        ([0.99, 0.99, 0.99, 0.99], 0.05, None),
        ([float("nan")] * 4, 0.5, None),
    ],
)
def test_a_score_that_stands_still(scores, constant, why):
    found = standing_still(scores, constant)
    assert found is None if why is None else why in found


def watched(*settings: str) -> tuple[RunWarnings, list[str]]:
    said: list[str] = []
    return RunWarnings(tiny_recipe(Path("data"), *settings), lambda step, text: said.append(text)), said


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (("init=model", "schedule.learning_rate=2e-4"), True),
        (("init=model", "schedule.learning_rate=1e-4"), False),
        (("init=model", "schedule.learning_rate=5e-5"), False),
        (("schedule.learning_rate=2e-3",), False),
    ],
)
def test_a_rate_for_random_weights_is_named_where_they_are_not_random(settings, warned):
    run_warnings, said = watched(*settings)
    run_warnings.before_training(State())
    run_warnings.before_training(State())
    assert [("schedule.learning_rate = 0.0002" in text) for text in said] == [True] * warned
    run_warnings, said = watched(*settings)
    run_warnings.before_training(State(step=5))
    assert not said, "resumed, it has been said"


@pytest.mark.parametrize(
    ("settings", "state", "warned"),
    [
        (("plan.steps=12", "schedule.warmup_proportion=0.05"), State(1, 256, 1.0), True),
        (("plan.steps=12", "schedule.warmup_proportion=0"), State(1, 256, 1.0), True),
        (("plan.steps=20", "schedule.warmup_proportion=0.05"), State(1, 256, 1.0), False),
        (("plan.tokens=2000", "schedule.warmup_proportion=0.1"), State(1, 256, 1.0), True),
        (("plan.hours=0.01", "schedule.warmup_proportion=0.01"), State(1, 256, 1.0), True),
        (("plan.hours=0.1", "schedule.warmup_proportion=0.01"), State(1, 256, 1.0), False),
        (("plan.hours=0.01", "schedule.warmup_proportion=0.01"), State(2, 512, 1.0), True),  # the first compiled
    ],
)
def test_less_than_a_step_of_warm_up_is_named(settings, state, warned):
    run_warnings, said = watched(*settings)
    run_warnings.after_step(state)
    run_warnings.after_step(state)
    assert [("less than one step" in text) for text in said] == [True] * warned


@pytest.mark.parametrize(("steps", "enough"), [(4, 0.25), (12, 0.084), (1, 1.0), (300, 0.0034), (1_000_000, 1e-6)])
def test_what_would_be_a_step_of_warm_up_is_said_and_is_one(steps, enough):
    plan = f"plan.steps={steps}"
    run_warnings, said = watched(plan, "schedule.warmup_proportion=0")
    run_warnings.after_step(State(1, 256, 1.0))
    assert f"; {enough:g} would be one step" in said[0]
    assert ("; 0.06 to 0.1 is usual" in said[0]) == (enough <= 0.1)
    run_warnings, said = watched(plan, f"schedule.warmup_proportion={enough:g}")
    run_warnings.after_step(State(1, 256, 1.0))
    assert not said


@pytest.mark.parametrize("kind", ["mlm", "rtd", "electric"])
def test_a_run_that_collapses_says_so_once(data, tmp_path, capsys, kind):
    pretrain(tiny_recipe(data, f"objective.kind={kind}", *RATES, *EACH_STEP), tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    kept = [line["text"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "warning"]
    assert [f"warning: {text}" for text in kept] == said
    assert sum("less than one step" in text for text in kept) == 1
    assert sum("has stood still at" in text or "all outputs are alike" in text for text in kept) in (1, 2)
    assert len(kept) == len(set(kept)) <= 3


def asked_batch() -> Batch:
    targets = {
        "positions": torch.tensor([[1, 2], [1, 2]]),
        "labels": torch.tensor([[7, 9], [7, 11]]),
        "weights": torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
    }
    return Batch(random_tokens([4, 4], 20), targets)


@pytest.mark.parametrize(
    ("name", "scores", "cosines", "warned"),
    [
        ("mlm_accuracy", [0.66, 0.7, 0.72, 0.725, 0.7255, 0.725], [0.5], None),  # 0.667 is the commonest answer's
        ("mlm_accuracy", [0.6, 0.66, 0.667, 0.667], [0.5], "commonest answer has 0.667"),
        ("rtd_auc", [0.5, 0.505, 0.5, 0.501], [0.9], "commonest answer has 0.500"),
        ("rtd_auc", [0.6, 0.7, 0.75, 0.8], [0.9], None),
        ("mlm_accuracy", [0.7, 0.72, 0.74, 0.76, 0.78], [0.5, 0.9, 0.995, 0.9, 0.995], None),
        ("mlm_accuracy", [0.7, 0.72, 0.74, 0.76, 0.78], [0.995], "mean cosine of 0.995"),
    ],
)
def test_what_an_evaluation_shows(name, scores, cosines, warned):
    kind = "rtd" if name == "rtd_auc" else "mlm"
    run_warnings, said = watched("plan.steps=100", "schedule.warmup_proportion=0.05", f"objective.kind={kind}")
    for number, score in enumerate(scores):
        cosine = cosines[min(number, len(cosines) - 1)]
        run_warnings.after_evaluation(State(10 + number), {name: score}, [asked_batch()], cosine)
    assert [warned in text for text in said] == [True] if warned else not said


def test_a_collapse_of_trained_weights_is_said_at_once_and_the_end_of_a_plan_is_none():
    run_warnings, said = watched("plan.steps=100", "init=model", "schedule.learning_rate=5e-5")
    run_warnings.after_evaluation(State(2), {"mlm_accuracy": 0.9}, [asked_batch()], 0.999)
    assert len(said) == 1 and "all outputs are alike" in said[0]
    run_warnings, said = watched("plan.steps=100")
    for step in range(91, 97):  # at less than a tenth of the learning rate
        run_warnings.after_evaluation(State(step), {"mlm_accuracy": 0.7}, [asked_batch()], 0.5)
    assert not said


def test_the_commonest_answer():
    assert MaskedTokensSettings().baseline([asked_batch()] * 2) == pytest.approx(2 / 3)
    assert ReplacedTokensSettings().baseline([]) == 0.5


class Remembered(torch.nn.Module):
    """An objective whose hidden vectors are its tokens' rows of a table."""

    def __init__(self, table: torch.Tensor):
        super().__init__()
        self.table = table

    def hidden(self, tokens: Tokens) -> torch.Tensor:
        return self.table[tokens.ids]


def test_vectors_of_different_rows_are_compared():
    ids = np.array([0, 1, 1, 1, 3, 0, 2, 2, 2, 3])
    tokens = Tokens.pack(ids, np.zeros(10, np.int64), np.array([5, 5]))
    machine = choose_machine(MachineSettings(device="cpu"))
    for vectors, cosine in (
        ([[1.0, 0.0], [0.0, 1.0]], 0.0),
        ([[2.0, 0.0], [3.0, 0.0]], 1.0),
        ([[1, 1], [1, 0.0]], 0.5**0.5),
    ):
        table = torch.tensor([[9.0, 9.0], *vectors, [9.0, 9.0]])
        runner = Runner(Remembered(table), machine)
        assert mean_cosine(runner, Batch(tokens, {}), 5) == pytest.approx(cosine, abs=1e-6)
        assert runner.objective.training
    assert json.dumps(mean_cosine(runner, Batch(tokens.rows(0, 1), {}), 5)) == "0.0"
