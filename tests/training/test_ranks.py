"""Runs of several processes: the same rows, masks, losses and weights as of one; ends that all of them meet."""

import signal
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from bertsmith.errors import UserError
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import read_manifest
from bertsmith.training import dealing, rendezvous
from bertsmith.training.beginning import Beginning, check_same_on_all
from bertsmith.training.dealing import checkpoint_of_first
from bertsmith.training.metrics import read_metrics
from bertsmith.training.pretrain import pretrain
from bertsmith.training.ranks import Ranks
from tests.toys import make_data, tiny_recipe
from tests.training import ranks_at_work
from tests.training.ranks_at_work import fork_commands, run_ranks

EVERY_STEP = (
    "plan.steps=20", "plan.log_steps=1", "plan.checkpoint_steps=10", "plan.evaluate_steps=10",
    "model.hidden_dropout_prob=0", "model.attention_probs_dropout_prob=0",
)  # fmt: skip
MODERN = ("model.kind=modern", "model.local_attention=4")
RECIPES = {
    "mlm": EVERY_STEP,
    "rtd": (*EVERY_STEP, "objective.kind=rtd", "objective.generator.hidden_fraction=0.5"),
    "modern, Muon, averages": (*EVERY_STEP[:4], *MODERN, "optimizer.kind=muon", "average_decay=0.9"),
    "stages, micro-batches": (
        *EVERY_STEP, "stages=[{tokens=1024, length=16, batch_size=16}]", "machine.micro_batch_rows=1",
    ),
}  # fmt: skip


def losses_of(run: Path) -> list[list[float]]:
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] in ("train", "heldout")]
    return [
        [value for name, value in line.items() if name.endswith("_loss") or name == "gradient_norm"] for line in lines
    ]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(list(checkpoint_folders(run).values())[-1] / "model.safetensors")


def assert_alike(run: Path, alone: Path) -> None:
    """Hold two runs to the same tokens, losses and weights: to 1e-5."""
    lines, expected = read_metrics(run / "metrics.jsonl"), read_metrics(alone / "metrics.jsonl")
    assert [line.get("tokens") for line in lines] == [line.get("tokens") for line in expected]
    losses, of_one = (torch.tensor(flat(losses_of(folder))) for folder in (run, alone))
    torch.testing.assert_close(losses, of_one, rtol=1e-5, atol=0)
    theirs = weights_of(alone)
    for name, weight in weights_of(run).items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-5, atol=1e-5, msg=f"{run.name}, {name}")


def flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_train_as_one_process_does(size, data, tmp_path):
    plan = [{"run": str(tmp_path / f"together {name}"), "settings": settings} for name, settings in RECIPES.items()]
    ended = run_ranks(size, plan, tmp_path, data)
    assert [process.status for process in ended] == [0] * size, ended
    for name, settings in RECIPES.items():
        pretrain(tiny_recipe(data, *settings), tmp_path / name)
        assert_alike(tmp_path / f"together {name}", tmp_path / name)


def test_a_run_goes_on_with_another_number_of_ranks(data, tmp_path):
    """Asked to stop, one rank of two stops both; one process goes on, asked again, and four end the run. All of them
    have the rows and masks of one process that does it all."""
    settings, run, alone = RECIPES["mlm"], tmp_path / "run", tmp_path / "alone"
    parts = [tmp_path / name for name in ("two", "one", "four", "whole")]
    for folder in parts:
        folder.mkdir()
    two, one, four, whole = ({"run": str(run), "settings": settings, "noted": str(folder)} for folder in parts)
    stopped = run_ranks(2, [two | {"happens": {1: ["signal", 6, int(signal.SIGTERM)]}}], tmp_path, data)
    assert [ended.status for ended in stopped] == [128 + signal.SIGTERM] * 2, stopped
    assert list(checkpoint_folders(run)) == [6]
    (ended,) = run_ranks(1, [one | {"happens": {0: ["signal", 5, int(signal.SIGUSR1)]}}], tmp_path, data)
    assert (ended.status, list(checkpoint_folders(run))) == (128 + signal.SIGUSR1, [10, 11])
    assert [ended.status for ended in run_ranks(4, [four], tmp_path, data)] == [0] * 4
    assert [ended.status for ended in run_ranks(1, [whole | {"run": str(alone)}], tmp_path, data)] == [0]
    assert_alike(run, alone)
    assert read_manifest(run, "pretrain")["ranks"] == [2, 1, 4]
    batches = [[path.read_text().split() for path in sorted(folder.iterdir())] for folder in parts]
    assert [len(of_each) for of_each in batches] == [2, 1, 4, 1]
    assert all(lines == of_each[0] for of_each in batches for lines in of_each)
    assert batches[0][0] + batches[1][0] + batches[2][0] == batches[3][0] and len(set(batches[3][0])) == 20


def test_memory_that_runs_out_on_one_rank_halves_the_micro_batches_of_all(data, tmp_path):
    run, alone, recipe = tmp_path / "run", tmp_path / "alone", RECIPES["mlm"]
    ended = run_ranks(2, [{"run": str(run), "settings": recipe, "happens": {1: ["memory", 3]}}], tmp_path, data)
    assert [process.status for process in ended] == [0, 0], ended
    pretrain(tiny_recipe(data, *recipe), alone)
    assert_alike(run, alone)


def test_a_clock_that_runs_ahead_on_one_rank_ends_nothing(data, tmp_path):
    run = tmp_path / "run"
    plan = {"run": str(run), "settings": ["plan.hours=0.0001", "plan.log_steps=1"], "happens": {1: ["clock", 100.0]}}
    ended = run_ranks(2, [plan], tmp_path, data)
    assert [process.status for process in ended] == [0, 0], ended
    last = read_metrics(run / "metrics.jsonl")[-1]
    assert 0.36 <= last["seconds"] < 20 and last["step"] > 1  # of the first rank, whose clock is right


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (
            {"settings_of": {1: ["schedule.learning_rate=1e-3"]}},
            "the recipe (schedule.learning_rate): not the same on all ranks; start all of them with the same command, "
            "version and data",
        ),
        (
            {"settings_of": {1: ["model.kind=modern"]}},
            "the recipe (model.",
        ),
        (
            {"happens": {1: ["version", "0.0.9"]}},
            "the version (bertsmith): not the same on all ranks; start all of them with the same command, ",
        ),
        (
            {"data_of": {1: "{folder}/other/data"}},
            "the data (",
        ),
        (
            {"run_of": {1: "{folder}/elsewhere"}},
            "elsewhere: rank 0 has opened it, and ",
        ),
        (
            {"settings": ["batch_size=9"]},
            "batch_size = 9: cannot be dealt evenly to 2 ranks; give a multiple, such as 10",
        ),
        (
            {"settings": ["machine.micro_batch_rows=1"], "happens": {1: ["memory", 3]}},
            "out of memory with a single row; use a smaller model, shorter rows or a larger machine",
        ),
        (
            {"settings": ["plan.hours=1", "objective.masking.final_prob=0.1"]},
            "objective.masking.final_prob: in a plan of hours masks would follow each rank's own clock",
        ),
    ],
)  # fmt: skip
def test_what_ends_one_rank_ends_all_and_is_said_once(job, says, data, tmp_path, monkeypatch):
    monkeypatch.setattr(dealing, "FOLDER_SECONDS", 0.5)
    if "data_of" in job:
        (tmp_path / "other").mkdir()
        make_data(tmp_path / "other", 100)
    own = {
        name: {rank: value.format(folder=tmp_path) for rank, value in job[name].items()}
        for name in ("run_of", "data_of") if name in job
    }  # fmt: skip
    ended = run_ranks(2, [{"run": str(tmp_path / "run"), "settings": []} | job | own], tmp_path, data)
    assert {process.status for process in ended} <= {1, 2}, ended
    assert sum(says in process.error for process in ended) == 1, ended
    assert sum("Error" in process.error or "other ranks failed" in process.error for process in ended) == 0, ended


TYPED = ("pretrain", "bert-tiny", "data=nowhere", "--out", "run")


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ([("pretrain", "no-such-recipe", "--out", "run")] * 2, "no-such-recipe"),
        ([(*TYPED, "no_such=1")] * 2, "no_such: no such setting"),
        ([(*TYPED, "--no-such")] * 2, "No such option: --no-such"),
        ([TYPED, (*TYPED, "--no-such")], "No such option: --no-such"),
        ([(*TYPED, "--no-such"), TYPED], "No such option: --no-such"),
        ([("finetune", "cola", "model=m", "data=d", "--out", "run")] * 2, "only `pretrain` works in several processes"),
    ],
)
def test_a_wrong_command_is_said_by_one_rank(commands, says, tmp_path, monkeypatch):
    """Also where another rank has a right one, and would wait for the one that has not."""
    monkeypatch.chdir(tmp_path)
    started_at = time.monotonic()
    ended = fork_commands(commands, tmp_path)
    assert {process.status for process in ended} <= {1, 2} and 2 in {process.status for process in ended}, ended
    (said,) = [process.error.splitlines() for process in ended if process.error]
    assert len(said) == 1 and said[0].startswith("bertsmith: ") and says in said[0], ended
    assert time.monotonic() - started_at < 60
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_port_in_use_is_named(tmp_path, monkeypatch):
    """By the rank that wanted to listen there; the other one finds somebody else there, and gives up too, long before
    it would give up a first rank that is late."""
    monkeypatch.setattr(rendezvous, "SHORT_PATIENCE", timedelta(seconds=1))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setattr(ranks_at_work, "free_port", lambda: port)
        ended = fork_commands([TYPED] * 2, tmp_path)
    assert [process.status for process in ended] == [2, 2], ended
    (said,) = ended[0].error.splitlines()
    assert f"127.0.0.1:{port}" in said and "EADDRINUSE" in said and "another MASTER_PORT" in said
    assert not ended[1].error


def test_a_killed_rank_brings_the_others_down(data, tmp_path):
    plan = {"run": str(tmp_path / "run"), "settings": ["plan.steps=2000"], "happens": {1: ["signal", 6, 9]}}
    first, killed = run_ranks(2, [plan], tmp_path, data)
    assert (first.status, killed.status) == (1, -signal.SIGKILL)
    assert "rank 0 of 2" in first.error and "working with the other ranks failed" in first.error
    said = first.error.splitlines()[-1]
    assert "goes on from the last checkpoint" in said and ".cc:" not in said and "GLHF" not in said, said


def test_a_rank_waits_until_it_sees_what_the_first_has_written(tmp_path):
    def write() -> None:
        (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
        (tmp_path / "manifest.json").touch()

    said = [4.0, False]  # by the first: the checkpoint's step, and whether it is one that the run branches off from
    second = SimpleNamespace(size=2, is_first=False, of_first=lambda number: said.pop(0))
    thread = threading.Timer(0.5, write)
    thread.start()
    with pytest.raises(UserError, match="step-00000004"):  # which it has found, and nothing in it
        checkpoint_of_first(tmp_path, None, None, second)
    thread.join()


def test_a_rank_after_the_first_removes_no_folder_and_no_lock_of_it(data, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def fail(*_: object, **options: object) -> None:
        run.mkdir()
        (run / ".lock").touch()  # by the first, meanwhile
        raise UserError("no data")

    monkeypatch.setattr("bertsmith.training.pretrain.open_data", fail)
    with pytest.raises(UserError, match="no data"):
        pretrain(tiny_recipe(data), run, ranks=Ranks(rank=1, size=2))
    assert (run / ".lock").exists()


def test_the_same_weights_may_have_another_path_on_each_rank(data):
    told: list[dict] = []
    ranks = SimpleNamespace(check_same=told.append)
    machine = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, compile=False, ranks=ranks)
    for path in ("here/model", "there/model"):
        rows = SimpleNamespace(recipe=tiny_recipe(data, f"init={path}"), identity={"hash": "1"})
        check_same_on_all(rows, Beginning({}), machine)
    assert told[0] == told[1]
