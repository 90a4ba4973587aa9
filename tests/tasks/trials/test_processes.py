"""Processes of trials: killed ones are replaced once, failures are named, none outlives the command; by a stand-in."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bertsmith.errors import Interrupted, UserError
from bertsmith.tasks.trials import processes, schedule
from bertsmith.tasks.trials.processes import Slot, run_in_processes

ONE, TWO = [Slot(1)], [Slot(1), Slot(1)]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(processes, "WORKER", "tests.tasks.trials.stand_in")


def trial_of(folder: Path, number: int, act: str) -> SimpleNamespace:
    """What there has to be of a trial, which this process only names and passes on."""
    source = SimpleNamespace(name="rte", to_json=lambda: {"act": act})
    results = {"trials": [{"seed": number, "metrics": {"mcc": number / 8}}]}
    run = SimpleNamespace(open=lambda: None, plan=SimpleNamespace(metrics=["mcc"], source=source), results=results)
    return SimpleNamespace(name=f"seed-{number}", seed=number, folder=folder / f"seed-{number}", cost=-number, run=run)


def trials_of(folder: Path, *acts: str) -> list:
    """A trial for each act, the first the longest."""
    return [trial_of(folder, number, act) for number, act in enumerate(acts)]


def done_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.done"))


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_is_done_once_and_one_that_is_killed_once_more(tmp_path, capsys):
    done = []
    trials = trials_of(tmp_path, "wait", "die once", "", "")
    run_in_processes(trials, TWO, lambda trial: done.append(trial.name))
    assert sorted(done) == [trial.name for trial in trials]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "4 trials, 2 at a time, 1 thread each"
    assert "seed-1: its process was killed by SIGKILL; the trial is done again" in lines
    assert {"seed-0: at work", "seed-0: 50 %", "seed-0: mcc 0.0000", "seed-3: mcc 0.3750"} <= set(lines)
    assert lines.count("rte: 2 classes") == lines.count("rte: of 20") == 1, "said by each process"
    assert not list(tmp_path.glob("*partial")), "what was left of it is gone"


def test_a_trial_that_is_whole_as_its_process_is_killed_is_not_done_again(tmp_path, capsys):
    done = []
    run_in_processes(trials_of(tmp_path, "die done", ""), ONE, lambda trial: done.append(trial.name))
    assert done == ["seed-0", "seed-1"] and "again" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            "die",
            r"^seed-1: its process was killed by SIGKILL, for the second time; perhaps memory ran out: use fewer jobs$",
        ),
        ("end", r"^seed-1: its process ended with status 3, for the second time$"),
        ("refuse", r"^seed-1: the disk is full$"),
    ],
)
def test_what_cannot_be_done_is_named_and_what_ran_beside_it_is_finished(tmp_path, capsys, act, message):
    with pytest.raises(UserError, match=message):
        run_in_processes(trials_of(tmp_path, "wait", act, "", ""), TWO, lambda trial: None)
    assert "seed-0" in done_in(tmp_path) and "seed-3" not in done_in(tmp_path)
    assert "seed-1: failed; the trials that run beside it are finished first" in capsys.readouterr().err


def test_a_run_whose_folder_is_in_use_is_begun_by_nobody_and_what_runs_is_finished(tmp_path, capsys):
    def refuse() -> None:
        raise UserError("seed-2: in use by another bertsmith process")

    trials = trials_of(tmp_path, "wait", "", "", "")
    trials[2].run.open = refuse
    with pytest.raises(UserError, match="seed-2: in use by another"):
        run_in_processes(trials, TWO, lambda trial: None)
    assert done_in(tmp_path) == ["seed-0", "seed-1"]
    assert "seed-2: failed; the trials that run beside it are finished first" in capsys.readouterr().err


def test_a_process_that_answers_no_more_and_does_not_end_is_killed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    run_in_processes(trials_of(tmp_path, "close"), ONE, lambda trial: None)
    assert "seed-0: its process was killed by SIGKILL; the trial is done again" in capsys.readouterr().err
    assert done_in(tmp_path) == ["seed-0"]


def test_an_error_that_is_nobodys_mistake_has_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match=r"^seed-0: KeyError: 'x'$") as raised:
        run_in_processes(trials_of(tmp_path, "fail"), ONE, lambda trial: None)
    assert "line 7" in str(raised.value.__cause__)


def test_a_result_that_cannot_be_written_stops_all(tmp_path):
    def full(trial):
        raise UserError("no space")

    with pytest.raises(UserError, match="no space"):
        run_in_processes(trials_of(tmp_path, "", "wait for ever"), TWO, full)
    begun = tmp_path / "seed-1.begun"
    assert not begun.exists() or not begun.read_text() or not is_there(int(begun.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_process_and_keeps_what_is_finished(tmp_path, number):
    before, begun = signal.getsignal(number), [tmp_path / f"seed-{seed}.begun" for seed in (1, 2)]

    def send() -> None:
        while not all(path.exists() and path.read_text() for path in begun):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Interrupted) as stopped:
        run_in_processes(trials_of(tmp_path, "", "wait for ever", "wait for ever", ""), TWO, lambda trial: None)
    thread.join()
    assert stopped.value.number == number and signal.getsignal(number) == before
    assert done_in(tmp_path) == ["seed-0"]
    assert not any(is_there(int(path.read_text())) for path in begun)
    assert not list(tmp_path.glob("*partial"))


def test_a_slot_has_its_share_of_the_cores_and_a_gpu_in_turn(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    cpu, cuda, second = torch.device("cpu"), torch.device("cuda"), torch.device("cuda:1")
    assert [schedule.slots_of(cpu, jobs) for jobs in (1, 4)] == [[Slot(6)], [Slot(2)] * 4]
    assert schedule.slots_of(cpu, 20) == [Slot(1)] * 20
    assert schedule.slots_of(cuda, 4) == [Slot(2, gpu) for gpu in "0120"]
    assert schedule.slots_of(second, 2) == [Slot(4)] * 2, "the recipe names the GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-8a,7")
    assert [slot.gpu for slot in schedule.slots_of(cuda, 3)] == ["5", "GPU-8a", "7"]
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert schedule.slots_of(cpu, 4) == [Slot(6)] * 4, "as somebody said"
    assert [schedule.default_jobs(device, 5) for device in (cpu, cuda, second)] == [1, 3, 1]
    assert schedule.default_jobs(cuda, 2) == 2
    environment = Slot(3, "7").environment()
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("3", "7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert schedule.slots_of(cuda, 2) == [Slot(6)] * 2, "packed on the one GPU"


def test_modules_of_the_present_folder_are_not_taken_for_others(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    run_in_processes(trials_of(tmp_path, ""), ONE, lambda trial: None)
