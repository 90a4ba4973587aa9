"""A fine-tuning run's manifests, results and weights: read as they were written, or refused, by whatever reads them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from attack import attack, few_and_many
from mutation import mutated, mutated_json
from safetensors.torch import load_file

from bertsmith.cli import show as program
from bertsmith.errors import UserError
from bertsmith.reports.page import write_page
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.runs import load_trial, trial_folder
from tests.tasks.toy_task import make_model, toy_recipe, write_task


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A finished run of two seeds, and a copy of its trials."""
    work, folder = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("results")
    task = write_task(work)
    finetune(toy_recipe(make_model(work), task, "seeds=2", "epochs=1"), folder / "run")
    shutil.copytree(folder / "run/trials", folder / "known")
    return folder


def read_run(folder: Path) -> None:
    """As `export`, `predict`, `report` and `show` do."""
    run = folder / "run"
    for seed in (None, 0):
        found = load_trial(run, seed)
        known = load_file(folder / "known" / f"seed-{found.seed}" / "model.safetensors")
        assert found.network.weights.keys() == known.keys()
        assert all(torch.equal(found.network.weights[name], known[name]) for name in known)
    write_page([run], folder / "page.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "say_table", lambda *_, **__: None)  # it takes longer than all the rest
        program.show(str(run))


@few_and_many
@pytest.mark.parametrize("name", ["manifest.json", "results.json", "trials/seed-0/results.json"])
def test_json(original: Path, name: str, examples: int, tmp_path: Path):
    content = (original / "run" / name).read_bytes()
    attack(mutated(content), examples // 2, original, f"run/{name}", read_run, tmp_path)
    attack(mutated_json(json.loads(content)), examples // 2, original, f"run/{name}", read_run, tmp_path)


@few_and_many
def test_weights(original: Path, examples: int, tmp_path: Path):
    name = "run/trials/seed-0/model.safetensors"
    attack(mutated((original / name).read_bytes()), examples, original, name, read_run, tmp_path)


def test_damaged_weights_are_named_with_the_seeds_that_are_whole(original: Path, tmp_path: Path):
    run = shutil.copytree(original / "run", tmp_path / "run")
    path = trial_folder(run, 1) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"seed-1/model.safetensors: damaged \(its hash .*\); whole: seed 0\nremove "):
        load_trial(run, 1)
    assert load_trial(run, 0).seed == 0
    (trial_folder(run, 0) / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="no trial is whole"):
        load_trial(run, 1)
    (run / "trials/seed-1/manifest.json").unlink()  # as version 0.1.0 left it: there is no hash to hold it to
    assert load_trial(run, 1).seed == 1
