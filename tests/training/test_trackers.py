"""Trackers: which are opened, what they are given, and that each continues its own run; the real ones offline."""

import importlib.util
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertsmith.config.loading import load, read_own_recipe
from bertsmith.config.registry import Registry
from bertsmith.errors import UserError
from bertsmith.storage.manifests import read_manifest
from bertsmith.tasks.finetune import finetune
from bertsmith.training.initial import load_pretraining
from bertsmith.training.metrics import MetricsLog, read_metrics
from bertsmith.training.pretrain import pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.trackers.registry import TRACKERS
from bertsmith.training.trackers.tracker import FILE, Tracker
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.toys import make_data, tiny_recipe


class Memory(Tracker):
    """Keeps what it is given, by the run's id."""

    runs: dict = {}  # noqa: RUF012
    fails = False

    def __init__(self, run):
        self.run = run
        self.given = self.runs.setdefault(run.id, [])

    def log(self, step, values):
        if self.fails:
            raise ConnectionError("no way out")
        self.given.append((step, values))

    def close(self):
        self.given.append("closed")


@pytest.fixture
def memory(monkeypatch) -> Iterator[type[Memory]]:
    monkeypatch.setattr(Memory, "runs", {})
    TRACKERS.add("memory", Memory)
    yield Memory
    del TRACKERS["memory"]
    Registry.num_added += 1  # what was concluded from it holds no longer


def measure(run: Path, begin: int, steps: list[tuple[str, int]], *names: str) -> None:
    log = MetricsLog(run, begin, names, {"seed": 0})
    for split, step in steps:
        log.write(split, step, {"loss": float(step), "tokens": 5, "none": float("nan")})
    log.close()


def test_a_continued_run_is_given_each_step_once_however_often_it_was_killed(memory, tmp_path):
    measure(tmp_path, 0, [("train", 4), ("heldout", 4), ("train", 8), ("train", 12)], "memory")
    measure(tmp_path, 4, [("train", 8)], "memory")  # killed before it is where it had been
    measure(tmp_path, 4, [("train", 8), ("heldout", 8), ("train", 12), ("train", 16)], "memory")
    [(name, given)] = memory.runs.items()
    assert name.startswith(f"{tmp_path.name}-")
    assert [entry[0] for entry in given if entry != "closed"] == [4, 4, 8, 12, 8, 16]
    assert given[:2] == [(4, {"loss/train": 4.0}), (4, {"loss/heldout": 4.0})] and given.count("closed") == 3
    assert (8, {"loss/heldout": 8.0}) in given
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [4, 4, 8, 8, 12, 16]
    assert [line["split"] for line in read_metrics(tmp_path / "metrics.jsonl")].count("heldout") == 2


def test_a_tracker_that_fails_is_left_out_with_a_line(memory, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "fails", True)
    measure(tmp_path, 0, [("train", 4), ("train", 8)], "memory")
    assert capsys.readouterr().err == "warning: memory: no way out; the run goes on without it\n"
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_one_that_is_not_installed_is_named_with_its_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"log: {name}: not installed .*pip install 'bertsmith\[{name}\]', or leave"):
        MetricsLog(tmp_path, 0, [name])


def test_a_run_keeps_its_trackers_ids_and_overwrite_begins_new_ones(memory, tmp_path):
    data = make_data(tmp_path).path
    recipe = tiny_recipe(data, 'log=["memory", "tensorboard"]')
    pretrain(recipe, tmp_path / "run")
    known = json.loads((tmp_path / "run" / FILE).read_text())
    assert [entry["id"] for name, entry in known.items() if name == "memory"] == list(memory.runs)
    given = next(iter(memory.runs.values()))
    assert {"mlm_loss/train", "learning_rate/train"} <= given[0][1].keys() and given[-1] == "closed"
    assert read_manifest(tmp_path / "run", "pretrain")["events"] == os.listdir(tmp_path / "run" / "tensorboard")
    pretrain(recipe, tmp_path / "run", overwrite=True)
    assert len(memory.runs) == 2
    (tmp_path / "run" / FILE).write_text('{"memory": 5}')
    with pytest.raises(UserError, match=r"trackers\.json: memory must be an object"):
        pretrain(recipe, tmp_path / "run")


def test_each_trial_of_fine_tuning_is_a_run_of_its_own(memory, tmp_path):
    recipe = toy_recipe(make_model(tmp_path), write_task(tmp_path), "epochs=2", 'log=["memory", "tensorboard"]')
    finetune(recipe, tmp_path / "tuned")
    assert [name.rpartition("-")[0] for name in memory.runs] == ["tuned-seed-0", "tuned-seed-1"]
    for seed, given in enumerate(memory.runs.values()):
        lines = read_metrics(tmp_path / f"tuned/trials/seed-{seed}/metrics.jsonl")
        assert [step for step, _ in given[:-1]] == [line["step"] for line in lines] and given[-1] == "closed"
        assert os.listdir(tmp_path / f"tuned/trials/seed-{seed}/tensorboard")


def test_the_setting_of_before_is_taken_with_a_line_that_gives_the_new_one(tmp_path, capsys):
    needed = ["data=d", "plan.steps=1"]
    path = tmp_path / "recipe.toml"
    for value, log in (("true", ("tensorboard",)), ("false", ())):
        assert load_pretraining("bert-tiny", [*needed, f"tensorboard={value}"]).settings.log == log
        assert f"tensorboard={value} is written log={json.dumps(list(log))} now" in capsys.readouterr().err
        path.write_text(f'data = "d"\ntensorboard = {value}\nplan.steps = 1\n')
        assert load_pretraining(str(path)).settings.log == log
        assert read_own_recipe(PretrainRecipe, tmp_path, "pretrain").log == log
    assert load_pretraining(str(path), ['log=["wandb"]']).settings.log == ("wandb",)
    path.write_text('data = "d"\nlog = ["wandb"]\nplan.steps = 1\n')
    assert load_pretraining(str(path), ["tensorboard=false"]).settings.log == ()
    with pytest.raises(UserError, match=r"tensorboard: no such setting"):
        load(PretrainRecipe, "pretrain", "bert-tiny", [*needed, "tensorboard=often"])
    with pytest.raises(UserError, match=r"log\.0 = 'tensorbord': there are 'tensorboard', 'wandb'"):
        load(PretrainRecipe, "pretrain", "bert-tiny", [*needed, 'log=["tensorbord"]'])


KILLED_AND_CONTINUED = """
import sys
from pathlib import Path
from bertsmith.training.pretrain import pretrain
from tests.toys import tiny_recipe

folder, name = Path(sys.argv[1]), sys.argv[2]
recipe = tiny_recipe(folder / "data", f'log=["{name}"]', "plan.log_steps=2", "plan.evaluate_steps=6")

class Killed(BaseException): pass

def kill(objective, say):
    raise Killed

try:
    pretrain(recipe, folder / "run", probes=[kill])
except Killed:
    pretrain(recipe, folder / "run")
    print("continued")
"""


def wandb_history(folder: Path) -> Iterator[tuple[str, dict]]:
    """Yield the id of the run and a row of its history, out of the logs of all processes."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        content, at, part = path.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if (left := 32768 - at % 32768) < 7:
                at += left
                continue
            length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
            part += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a whole record, or its last piece
                record = wandb_internal_pb2.Record.FromString(part)
                part = b""
                if record.WhichOneof("record_type") == "history":
                    items = {
                        item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item
                    }
                    yield path.name, items


def mlflow_history(folder: Path) -> Iterator[tuple[str, dict]]:
    for path in folder.glob("mlruns/*/*/metrics/mlm_loss/train"):
        for line in path.read_text().splitlines():
            _, value, step, *_ = line.split()
            yield path.parents[2].name, {"_step": int(step), "mlm_loss/train": float(value)}


def trackio_history(folder: Path) -> Iterator[tuple[str, dict]]:
    with sqlite3.connect(folder / "trackio" / "bertsmith.db") as base:
        for run, step, values in base.execute("select run_name, step, metrics from metrics order by id"):
            yield run, json.loads(values) | {"_step": step}


READERS = {"wandb": wandb_history, "mlflow": mlflow_history, "trackio": trackio_history}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_the_real_one_continues_its_run_offline(name, tmp_path):
    """Killed at step 6 with a checkpoint of step 4: step 6 was measured before, and is again."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; `make test-all` does so")
    make_data(tmp_path)
    own = {
        "WANDB_MODE": "offline", "WANDB_DIR": tmp_path, "WANDB_SILENT": "true", "TRACKIO_DIR": tmp_path / "trackio",
        "MLFLOW_TRACKING_URI": f"file://{tmp_path}/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true",
    }  # fmt: skip
    environment = os.environ | {key: str(value) for key, value in own.items()}
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AND_CONTINUED, tmp_path, name],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and "continued" in done.stdout, done.stderr
    assert "the run goes on without it" not in done.stderr
    history = [(run, row) for run, row in READERS[name](tmp_path) if "mlm_loss/train" in row]
    assert len({run for run, _ in history}) == 1
    assert [row["_step"] for _, row in history] == [2, 4, 6, 8, 10, 12]
    measured = {line["step"]: line["mlm_loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
                if line["split"] == "train"}  # fmt: skip
    assert {row["_step"]: row["mlm_loss/train"] for _, row in history} == pytest.approx(measured)
