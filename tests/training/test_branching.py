"""A branch of a run: begins where its run was, falls to zero, resumes; the run itself goes on after its end."""

import shutil

import pytest
import torch

from bertsmith.errors import UserError
from bertsmith.reports.runs import read_metrics
from bertsmith.training import checkpoints
from bertsmith.training.pretrain import pretrain
from bertsmith.training.schedules import ConstantSettings
from tests.toys import make_data, tiny_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data")).path


@pytest.fixture(scope="module")
def stable(data, tmp_path_factory):
    """A finished run at a constant rate, with checkpoints of steps 4, 8 and 12."""
    out = tmp_path_factory.mktemp("stable") / "run"
    pretrain(tiny_recipe(data, *CONSTANT), out)
    return out


CONSTANT = ("schedule.kind=constant", "plan.keep_checkpoints=0", "plan.log_steps=1", "schedule.warmup_proportion=0.1")
BRANCH = ("schedule.kind=wsd", "schedule.decay_shape=linear", "plan.keep_checkpoints=0", "plan.log_steps=1")


def rates(run):
    lines = read_metrics(run / "metrics.jsonl")
    return {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}


def tensors(run, step):
    found = checkpoints.read(run / f"checkpoints/step-{step:08d}")
    return {**found.model, **found.optimizer}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_branch_falls_to_zero_from_where_its_run_was(stable, data, tmp_path):
    recipe = tiny_recipe(data, *BRANCH, f"branch={stable}@8", "plan.steps=12")
    pretrain(recipe, tmp_path / "branch")
    assert rates(tmp_path / "branch") == pytest.approx({9: 5e-3, 10: 3.75e-3, 11: 2.5e-3, 12: 1.25e-3})
    assert not same(tensors(tmp_path / "branch", 12), tensors(stable, 12))
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "branch", again)
    shutil.rmtree(again / "checkpoints/step-00000012")
    pretrain(recipe, again)
    assert same(tensors(again, 12), tensors(tmp_path / "branch", 12)), "without its last checkpoint it begins again"


def test_a_branch_that_has_begun_does_not_need_its_run(stable, data, tmp_path):
    """Whose checkpoint may be gone by then: a run keeps its newest ones."""
    run = tmp_path / "run"
    shutil.copytree(stable, run)
    recipe = tiny_recipe(data, *BRANCH, f"branch={run}@4", "plan.steps=12")
    pretrain(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed/checkpoints/step-00000012")
    shutil.rmtree(run)
    pretrain(recipe, tmp_path / "resumed")
    assert same(tensors(tmp_path / "resumed", 12), tensors(tmp_path / "whole", 12))
    with pytest.raises(UserError, match="run: "):
        pretrain(recipe, tmp_path / "other")


def test_at_a_constant_rate_a_branch_would_be_its_run(stable, data, tmp_path, monkeypatch):
    """With the run's own rate it has the run's own rows, masks and weights, to the bit."""
    monkeypatch.setattr(
        "bertsmith.training.pretrain.decaying_from",
        lambda recipe, branch: ConstantSettings(learning_rate=5e-3, warmup_proportion=0),
    )
    pretrain(tiny_recipe(data, *BRANCH, f"branch={stable}@4", "plan.steps=8"), tmp_path / "branch")
    assert same(tensors(tmp_path / "branch", 8), tensors(stable, 8))


def test_the_run_itself_goes_on_from_its_end(stable, data, tmp_path):
    longer, whole = tmp_path / "longer", tmp_path / "whole"
    shutil.copytree(stable, longer)
    pretrain(tiny_recipe(data, *CONSTANT, "plan.steps=16"), longer)
    assert checkpoints.load_newest(longer).state.step == 16
    pretrain(tiny_recipe(data, *CONSTANT[:-1], "schedule.warmup_proportion=0.075", "plan.steps=16"), whole)
    assert same(tensors(longer, 16), tensors(whole, 16)), "as if it had been planned so, but for the warm-up's share"
    with pytest.raises(UserError, match=r"belongs to another run \(plan.steps: 12 → 16\)"):
        falling = tmp_path / "falling"
        pretrain(tiny_recipe(data), falling)
        pretrain(tiny_recipe(data, "plan.steps=16"), falling)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("branch={}", "schedule.kind=wsd"), r"names no step; write RUN@STEP"),
        (
            ("branch={}@5", "schedule.kind=wsd"),
            r"branch = .*@5: that run has no checkpoint of this step, it has those of 4, 8, 12; name one of them",
        ),
        (
            ("branch={}@12", "schedule.kind=wsd"),
            r"the plan, 12 steps, is done by then; lengthen plan.steps, or branch off",
        ),
        (("branch={}@8", "schedule.kind=wsd", "batch_size=4"), r"not the settings of that run \(batch_size: 8 → 4\)"),
        (
            ("branch={}-none@8", "schedule.kind=wsd"),
            r"^branch = .*-none@8: .*-none: (no such folder|.*no manifest.json)",
        ),
        (("branch={}@8",), r"branch: a schedule that falls where the branch begins; add schedule.kind=wsd"),
        (("branch={}@8", "schedule.kind=wsd", "init=x"), r"branch and init: two beginnings"),
    ],
)
def test_what_cannot_be_branched_is_refused(stable, data, tmp_path, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        pretrain(tiny_recipe(data, *(text.format(stable) for text in settings)), tmp_path / "branch")
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "branch").exists()
