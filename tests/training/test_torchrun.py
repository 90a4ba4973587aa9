"""`torchrun -m bertsmith pretrain`: stopped, killed and started anew, with real processes."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bertsmith.config.loading import to_toml
from bertsmith.storage.folders import checkpoint_folders
from tests.toys import tiny_recipe

pytestmark = pytest.mark.slow

KILLS = 10


SLOW_SAVING = """
import time
from bertsmith.training import checkpoints

save = checkpoints.save


def slowly(run, state, *rest):
    if state.step % 50:
        time.sleep(3)
    return save(run, state, *rest)


checkpoints.save = slowly
"""


def start(
    recipe: Path, run: Path, *options: str, plugin: Path | None = None, more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *options]
    plugins = ["--plugin", str(plugin)] if plugin else []
    return subprocess.Popen(
        [*command, "-m", "bertsmith", "pretrain", str(recipe), "--out", str(run), *plugins, *more],
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in children.read_text().split()] if children.exists() else []


def wait_for_checkpoint(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and max(checkpoint_folders(run), default=-1) < step:
        time.sleep(0.05)


@pytest.fixture
def recipe(data, tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    steps = ("plan.steps=3000", "plan.checkpoint_steps=50", "plan.evaluate_steps=1000")
    path.write_text(
        to_toml(tiny_recipe(data, *steps, "model.hidden_dropout_prob=0", "model.attention_probs_dropout_prob=0"))
    )
    return path


def test_two_machines_train_one_run(recipe, tmp_path):
    """Each with a torchrun of its own, which find each other at an address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", address, "--rdzv-id", "1", "-m", "bertsmith", "pretrain"]
    short = [str(recipe), "plan.steps=20", "plan.evaluate_steps=20"]
    machines = [
        subprocess.Popen(
            [*command, *meeting, *short, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    errors = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], errors
    assert sum("2 ranks" in text for text in errors) == 1, errors
    alone = [sys.executable, "-m", "bertsmith", "pretrain", *short, "--out", str(tmp_path / "alone")]
    subprocess.run(alone, check=True, capture_output=True)
    of_two, of_one = (
        load_file(list(checkpoint_folders(tmp_path / name).values())[-1] / "model.safetensors")
        for name in ("run", "alone")
    )
    for name, weight in of_two.items():
        torch.testing.assert_close(weight, of_one[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("asked", ["torchrun", "one rank"])
def test_asked_to_stop_all_end_with_a_checkpoint(asked, recipe, tmp_path):
    run = tmp_path / "run"
    process = start(recipe, run)
    wait_for_checkpoint(run, 50, process)
    os.kill(process.pid if asked == "torchrun" else ranks_of(process)[1], signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert errors.count("which is saved. To go on:") == 1, errors
    assert ranks_of(process) == []
    assert max(checkpoint_folders(run)) % 50, "the step at which they stopped"


def test_ranks_whose_torchrun_is_killed_end_with_a_checkpoint(recipe, tmp_path):
    run = tmp_path / "run"
    process = start(recipe, run)
    wait_for_checkpoint(run, 50, process)
    process.kill()
    _, errors = process.communicate(timeout=300)  # until no rank has standard error open
    assert errors.count("which is saved. To go on:") == 1, errors
    assert max(checkpoint_folders(run)) < 3000


def test_the_others_wait_until_the_first_has_saved(recipe, data, tmp_path, monkeypatch):
    """As torchrun ends all that are left when one has ended."""
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW_SAVING)
    run = tmp_path / "run"
    process = start(recipe, run, plugin=slow)
    wait_for_checkpoint(run, 50, process)
    os.kill(ranks_of(process)[0], signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    said = re.search(r"stopped at step ([\d,]+), which is saved", errors)
    assert said and int(said[1].replace(",", "")) == max(checkpoint_folders(run)), errors


@pytest.mark.parametrize("wrong", ["no_such=1", "--no-such"])
def test_a_wrong_command_is_said_once(wrong, recipe, tmp_path):
    process = start(recipe, tmp_path / "run", more=[wrong])
    _, errors = process.communicate(timeout=300)
    said = [line for line in errors.splitlines() if "bertsmith: " in line]
    assert len(said) == 1 and wrong.partition("=")[0] in said[0], errors
    assert re.search(r"exitcode *: 2", errors) and not (tmp_path / "run").exists()


def test_to_overwrite_at_each_restart_is_refused(recipe, tmp_path):
    process = start(recipe, tmp_path / "run", "--max-restarts", "1", more=["--overwrite"])
    _, errors = process.communicate(timeout=300)
    assert "--overwrite: torchrun --max-restarts would give it again at each restart" in errors
    assert not (tmp_path / "run").exists()


def test_ranks_killed_at_random_moments_are_started_anew_and_end_as_ever(recipe, data, tmp_path):
    run, rng = tmp_path / "run", random.Random(0)
    process = start(recipe, run, "--max-restarts", str(2 * KILLS), "--monitor-interval", "0.2")
    for number in range(KILLS):
        wait_for_checkpoint(run, 50 * (number + 1), process)
        time.sleep(rng.random())
        if found := ranks_of(process):
            os.kill(rng.choice(found), signal.SIGKILL)
            time.sleep(1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors.count("continuing from") >= KILLS // 2, errors
    alone = tmp_path / "alone"
    start(recipe, alone).communicate(timeout=300)
    killed, expected = (
        load_file(list(checkpoint_folders(path).values())[-1] / "model.safetensors") for path in (run, alone)
    )
    for name, weight in killed.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-5, msg=name)
