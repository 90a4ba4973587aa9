"""Trials in processes of their own: the files of one after the other, also after a kill; stopped, resumed, refused."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertsmith.config.loading import load
from bertsmith.config.plugins import load_plugin
from bertsmith.errors import UserError
from bertsmith.sweeps.glue import run_glue
from bertsmith.sweeps.search import run_search
from bertsmith.tasks import quick_glue
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.trials import schedule
from bertsmith.tasks.trials.contexts import Contexts, RunSource
from bertsmith.tasks.trials.run import FinetuneRun, Trial
from bertsmith.training.machine import MachineSettings
from bertsmith.training.pretrain import pretrain
from tests.plugins import own_process
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tasks.trials.test_processes import is_there
from tests.toys import tiny_recipe

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("toy")
    return make_model(folder), write_task(folder)


def workers_of(parent: int) -> list[int]:
    """The processes of trials that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found += [int(path.name)] if b"trials.worker" in (path / "cmdline").read_bytes() else []
    return found


def at_work_in(folder: Path, parent: int) -> Iterator[int]:
    """The processes of trials that have a file open in this folder."""
    for pid in workers_of(parent):
        with contextlib.suppress(OSError):
            if any(str(folder) in os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()):
                yield pid


def files_of(run: Path) -> dict[str, bytes]:
    """Those that must be the same, whoever wrote them: not logs, which have seconds, nor recipes, which have `jobs`."""
    names = ("results.json", "model.safetensors", "predictions-dev.tsv")
    found = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.name in names}
    for name, content in found.items():
        if "seed-" in name and name.endswith("results.json"):
            found[name] = json.dumps(json.loads(content) | {"seconds": 0}).encode()
    return found


def test_a_trial_costs_what_its_texts_and_its_epochs_do(toy, tmp_path):
    """So the longest begins first, and none is left to run alone at the end."""
    contexts = Contexts()
    costs = {}
    for name, overrides in {"all": (), "few": ("train_examples=20",), "twice": ("epochs=10",)}.items():
        plan = contexts.plan(toy_recipe(*toy, *overrides).settings, name)
        costs[name] = Trial(FinetuneRun(plan, tmp_path / name), 0).cost
    texts = {
        split: [line.partition("\t")[0] for line in (toy[1] / f"{split}.tsv").read_text().splitlines()[1:]]
        for split in ("train", "dev")
    }
    scored = sum(map(len, texts["dev"]))
    assert costs["all"] == 15 * sum(map(len, texts["train"])) + scored
    assert costs["twice"] == 2 * costs["all"] - scored
    assert scored < costs["few"] < costs["all"] / 5


@pytest.mark.slow
def test_a_killed_trial_is_done_again_and_all_is_as_one_after_the_other(toy, tmp_path, capsys):
    overrides = ("seeds=2", "epochs=3")
    finetune(toy_recipe(*toy, *overrides), tmp_path / "here")
    partial, killed = tmp_path / "run/trials/seed-1.bertsmith-partial", []

    def kill() -> None:
        until = time.monotonic() + 300
        while not killed and time.monotonic() < until:
            for pid in at_work_in(partial, os.getpid()) if partial.exists() else ():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    capsys.readouterr()
    results = finetune(toy_recipe(*toy, *overrides, "jobs=2"), tmp_path / "run")
    thread.join()
    assert len(killed) == 1 and [trial["seed"] for trial in results["trials"]] == [0, 1]
    assert files_of(tmp_path / "run") == files_of(tmp_path / "here")
    assert len(files_of(tmp_path / "here")) == 7
    lines = capsys.readouterr().err.splitlines()
    assert "seed 1: its process was killed by SIGKILL; the trial is done again" in lines
    assert sum(line.startswith("custom: 2 classes") for line in lines) == 1, "said by one process"
    assert all(line.startswith(("seed ", "trials ", "custom: ", "2 trials")) for line in lines)
    assert not workers_of(os.getpid()) and not list((tmp_path / "run/trials").glob("*partial"))


def command(toy: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    settings = [f"model={toy[0]}", f"data={toy[1]}", "batch_size=8", "sequence_length=32", "machine.device=cpu", *more]
    return [sys.executable, "-m", "bertsmith", "finetune", "custom", *settings, "--out", str(out)]


def start(toy: tuple[Path, Path], out: Path, *more: str) -> subprocess.Popen:
    """Begin a command, and return when its second trial has begun, of two whose first is short."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command(toy, out, *more), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    until = time.monotonic() + 120
    while not any(at_work_in(out / "trials", process.pid)):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_command_leaves_no_process_and_goes_on_later(toy, tmp_path, number):
    """All of the command's processes get the signal, as from a terminal's Ctrl-C or a batch system."""
    long = ("schedule.learning_rate=1e-3", "layerwise_lr_decay=1", "epochs=2000", "jobs=2")
    process = start(toy, tmp_path / "run", *long, "seeds=3")
    workers = workers_of(process.pid)
    assert len(workers) == 2
    for pid in (*workers, process.pid):
        os.kill(pid, number)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + number, stderr
    assert "stopped; what is finished is kept. To go on:" in stderr and "Traceback" not in stderr
    assert not any(map(is_there, workers)) and not list((tmp_path / "run/trials").iterdir())


@pytest.mark.slow
def test_finished_trials_stay_and_are_skipped(toy, tmp_path):
    """The last of three trials, which runs alone, is stopped; then the same command does it alone."""
    base = ("schedule.learning_rate=1e-3", "layerwise_lr_decay=1", "epochs=40", "jobs=2")
    done = subprocess.run(command(toy, tmp_path / "run", *base, "seeds=2"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before = {seed: (tmp_path / f"run/trials/seed-{seed}/results.json").stat().st_mtime_ns for seed in (0, 1)}
    process = start(toy, tmp_path / "run", *base, "seeds=3")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert sorted(path.name for path in (tmp_path / "run/trials").iterdir()) == ["seed-0", "seed-1"]
    results = finetune(
        load(FinetuneRecipe, "finetune", "custom", [text for text in command(toy, tmp_path, *base) if "=" in text]),
        tmp_path / "run",
    )
    assert len(results["trials"]) == 3
    after = {seed: (tmp_path / f"run/trials/seed-{seed}/results.json").stat().st_mtime_ns for seed in (0, 1)}
    assert after == before


@pytest.mark.slow
def test_a_stopped_quick_reading_leaves_nothing(tmp_path, data, shared_data):
    pretrain(tiny_recipe(data, "plan.steps=1"), tmp_path / "model")
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen(
        [sys.executable, "-m", "bertsmith", "evaluate", tmp_path / "model", f"glue={shared_data}/glue", "jobs=2"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    until = time.monotonic() + 120
    while len(workers := workers_of(process.pid)) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT and stderr.splitlines()[-1] == "stopped", stderr
    assert not any(map(is_there, workers)) and not list((tmp_path / "temporary").glob("bertsmith-*"))


@pytest.mark.slow
def test_processes_end_with_the_command_that_is_killed(toy, tmp_path):
    process = start(toy, tmp_path / "run", "epochs=2000", "jobs=2")
    workers = workers_of(process.pid)
    process.kill()
    process.communicate(timeout=300)
    until = time.monotonic() + 10
    while any(map(is_there, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(map(is_there, workers))


@pytest.mark.slow
def test_a_glue_run_is_the_same_side_by_side(tmp_path):
    model, data = make_model(tmp_path), write_glue(tmp_path / "glue", "cola", "mnli", "mnli-mismatched", "rte", "sts-b")
    asked = [f"data={data}", "seeds=2", "epochs=1", "sequence_length=16", "check_counts=false", "machine.device=cpu"]
    results = [run_glue(model, [*asked, "from_mnli=true", f"jobs={jobs}"], tmp_path / f"run-{jobs}") for jobs in (1, 3)]
    assert results[0] == results[1] and list(results[0]["tasks"]) == ["cola", "sts-b", "mnli", "rte"]
    one, three = (files_of(tmp_path / f"run-{jobs}") for jobs in (1, 3))
    assert one == three and sum(name.endswith("model.safetensors") for name in one) == 9, "MNLI's model is one"


@pytest.mark.slow
def test_a_search_is_the_same_side_by_side(toy, tmp_path):
    given = [f"model={toy[0]}", f"data={toy[1]}", "seeds=1", "sequence_length=32", "machine.device=cpu"]
    grid = ["search.learning_rate=[1e-6,3e-3]", "search.batch_size=[8,16]"]
    for jobs in (1, 2):
        run_search("custom", [*given, *grid, f"jobs={jobs}"], tmp_path / f"run-{jobs}")
    assert files_of(tmp_path / "run-1") == files_of(tmp_path / "run-2")


@pytest.mark.slow
def test_plugins_are_loaded_in_each_process_and_their_faults_are_named(toy, tmp_path):
    """Also one that no recipe names, as of an encoder that the model has."""
    text = (ROOT / "examples/lion.py").read_text()
    plugin, broken = tmp_path / "mine.py", tmp_path / "broken.py"
    plugin.write_text(text)
    broken.write_text(
        text.replace("def step(self", "def step(self, *_):\n        raise KeyError('momentum')\n\n    def other(self")
    )
    lion = ("optimizer.kind=lion", "optimizer.weight_decay=0", "epochs=1")
    with own_process():
        load_plugin(plugin)
        for jobs in (1, 2):
            finetune(toy_recipe(*toy, *lion, f"jobs={jobs}"), tmp_path / f"run-{jobs}")
    assert files_of(tmp_path / "run-1") == files_of(tmp_path / "run-2")
    with own_process(), pytest.raises(UserError, match=rf"^seed \d: {broken}, line \d+: KeyError: 'momentum'$"):
        finetune(toy_recipe(*toy, *lion, f"plugins=['{broken}']", "jobs=2"), tmp_path / "broken")


@pytest.mark.slow
def test_a_quick_reading_is_the_same_side_by_side(tmp_path, monkeypatch):
    settings = tuple(text for text in quick_glue.QUICK_SETTINGS if not text.startswith("train_examples="))
    monkeypatch.setattr(quick_glue, "QUICK_SETTINGS", (*settings, "train_examples=20", "check_counts=false"))
    model, data = make_model(tmp_path), write_glue(tmp_path / "glue", "rte", "sts-b")
    cpu = MachineSettings(device="cpu")
    here = quick_glue.quick_glue(open_pretrained_encoder(model), data, cpu, 32)
    assert quick_glue.quick_glue(model, data, cpu, 32, jobs=2) == here
    assert list(here) == [task for task in quick_glue.QUICK_TASKS if task in ("rte", "sts-b")] + ["mean"]


def test_a_source_is_read_back_and_another_model_is_noticed(toy, tmp_path):
    contexts = Contexts()
    recipe = toy_recipe(*toy, "custom.weights={with=2.0}", "optimizer.kind=adafactor").settings
    source = contexts.plan(recipe, "cola").source
    back = RunSource.from_json(json.loads(json.dumps(source.to_json())))
    assert back.recipe == recipe and back.name == "cola"
    assert contexts.of(back).task.num_examples["train"] == 200
    other = make_model(tmp_path, intermediate_size=64)
    with pytest.raises(UserError, match=r"changed while the command ran \(model\); run it again$"):
        Contexts(open_pretrained_encoder(other)).of(back)


def test_bad_numbers_of_jobs(toy, tmp_path, run_main, monkeypatch):
    status, _, stderr = run_main(*command(toy, tmp_path / "run", "jobs=0")[3:])
    assert status == 2 and stderr.startswith("bertsmith: jobs = 0: ") and stderr.count("\n") == 1
    status, _, stderr = run_main(*command(toy, tmp_path / "run", "jobs=2", "machine.device=cuda:7")[3:])
    assert status == 2 and "device = 'cuda:7': " in stderr and stderr.splitlines()[-1].startswith("bertsmith: ")
    assert not (tmp_path / "run").exists()
    seen = []
    monkeypatch.setattr(schedule, "run_in_processes", lambda trials, slots, done: seen.append(len(slots)))
    finetune(toy_recipe(*toy, "seeds=2", "jobs=5"), tmp_path / "run")
    assert seen == [2], "no more processes than trials"
