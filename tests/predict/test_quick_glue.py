"""A quick reading of GLUE: present tasks alone, a spread of seeds, as JSON and as a table."""

import json
import math

import pytest

from bertsmith.storage.file_types import EVALUATION_FILE
from bertsmith.tasks import quick_glue
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.training.machine import MachineSettings
from bertsmith.training.pretrain import pretrain
from tests.tasks.texts.toy_glue import write_glue
from tests.toys import DEVICES, make_data, tiny_recipe


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model, and a GLUE folder of two tasks of which 20 examples are taken."""
    settings = tuple(text for text in quick_glue.QUICK_SETTINGS if not text.startswith("train_examples="))
    monkeypatch.setattr(quick_glue, "QUICK_SETTINGS", (*settings, "train_examples=20", "check_counts=false"))
    write_glue(tmp_path, "sts-b")
    write_glue(tmp_path, "rte")
    pretrain(tiny_recipe(make_data(tmp_path).path, "plan.steps=1"), tmp_path / "model")
    return tmp_path / "model"


def test_present_tasks_are_read_with_their_spread(model, tmp_path, run_main):
    out = tmp_path / "found.json"
    status, stdout, stderr = run_main("evaluate", model, f"glue={tmp_path}", "machine.device=cpu", "--out", out)
    assert status == 0, stderr
    assert "cola: left out" in stderr and "sst-2: left out" in stderr and "mrpc: left out" in stderr
    found = json.loads(out.read_text())
    assert found.keys() == {"glue"} and found["glue"].keys() == {"sts-b", "rte", "mean"}
    rte, sts = (found["glue"][task] for task in ("rte", "sts-b"))
    assert rte["metric"] == "accuracy" and 0 <= rte["mean"] <= 1
    assert found["glue"]["mean"]["mean"] == pytest.approx((rte["mean"] + sts["mean"]) / 2)
    error = math.hypot(rte["standard_error"], sts["standard_error"]) / 2
    assert found["glue"]["mean"]["standard_error"] == pytest.approx(error)
    assert f"{rte['mean']:.4f}" in stdout and "GLUE, quick" in stdout
    assert EVALUATION_FILE.matches(out), "it may be written over"


def test_tasks_are_chosen_by_name(model, tmp_path, run_main):
    out = tmp_path / "found.json"
    given = (f"glue={tmp_path}", "machine.device=cpu")
    status, _, stderr = run_main("evaluate", model, *given, "glue_tasks=['rte']", "--out", out)
    assert status == 0 and "left out" not in stderr
    assert json.loads(out.read_text())["glue"].keys() == {"rte"}
    status, _, stderr = run_main("evaluate", model, "glue_tasks=['rte']", "machine.device=cpu")
    assert status == 2 and "glue_tasks = ['rte']: without glue nothing is read" in stderr
    status, _, stderr = run_main("evaluate", model, *given, "glue_tasks=['wnli']")
    assert status == 2 and "wnli" in stderr and "cola, sst-2" in stderr.replace("'", "")


@pytest.mark.parametrize("device", DEVICES)
def test_a_task_that_single_words_decide_is_learnt(model, tmp_path, monkeypatch, device):
    longer = ("epochs=30", "seeds=2", "schedule.learning_rate=1e-2", "batch_size=8")
    monkeypatch.setattr(quick_glue, "QUICK_SETTINGS", (*quick_glue.QUICK_SETTINGS, *longer))
    encoder = open_pretrained_encoder(model)
    readings = quick_glue.quick_glue(encoder, tmp_path, MachineSettings(device=device), 32)
    assert readings["rte"].mean == 1.0 and readings["sts-b"].mean > 0.8


def test_a_folder_without_tasks_is_named(model, tmp_path, run_main):
    (tmp_path / "empty").mkdir()
    status, _, stderr = run_main("evaluate", model, f"glue={tmp_path / 'empty'}")
    assert status == 2 and "empty: none of cola, sst-2, mrpc, sts-b, rte in it; `bertsmith download" in stderr
