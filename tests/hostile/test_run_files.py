"""A pre-training run's manifest, state, weights, optimizer, metrics and recipe: read as written, or refused; what their
hashes do not protect is held to the run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from attack import attack, few_and_many
from mutation import mutated, mutated_json
from safetensors.torch import load_file

from bertsmith.cli import show as program
from bertsmith.config.loading import load, read_toml, to_toml
from bertsmith.errors import UserError
from bertsmith.storage.files import sha256_file
from bertsmith.storage.json_files import read_json
from bertsmith.storage.manifests import folder_type
from bertsmith.text.shards import open_data
from bertsmith.training import checkpoints
from bertsmith.training.folder import newest_checkpoint
from bertsmith.training.metrics import MetricsLog, read_metrics
from bertsmith.training.models import load_run, read_tokenizer
from bertsmith.training.optimizers.optimizer import build_optimizer, set_learning_rate
from bertsmith.training.pretrain import initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.staged_rows import StagedRows
from tests.toys import make_data, tiny_recipe

LAST = "run/checkpoints/step-00000004"


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A finished run of four steps with two checkpoints, beside its data, and a copy of both checkpoints."""
    folder, work = tmp_path_factory.mktemp("run-files"), tmp_path_factory.mktemp("work")
    make_data(work)
    shutil.copytree(work / "data", folder / "data")
    small = ("plan.steps=4", "plan.checkpoint_steps=2", "plan.log_steps=1", "plan.evaluate_steps=2", "batch_size=4",
             "evaluate_rows=4", "model.hidden_size=8", "model.num_hidden_layers=1", "rows.length=16")  # fmt: skip
    pretrain(tiny_recipe(folder / "data", *small), folder / "run")
    shutil.copytree(folder / "run/checkpoints", folder / "known")
    return folder


def read_run(folder: Path) -> None:
    """As `export`, `evaluate` and `show` do."""
    found = load_run(folder / "run")
    known = load_file(folder / "known" / f"step-{found.step:08d}" / "model.safetensors")
    assert found.step in (2, 4) and all(torch.equal(found.weights[name], known[name]) for name in known)
    assert read_tokenizer(folder / "run", found.manifest, found.vocab_size).vocab_size == found.vocab_size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "say_table", lambda *_, **__: None)  # it takes longer than all the rest
        program.show(str(folder / "run"))


def sign(checkpoint: Path) -> None:
    """Write the hashes of the files as they are now, as whoever edits one by hand may do."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"] = {name: sha256_file(checkpoint / name) for name in checkpoints.CHECKPOINT_FILES}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def resume(folder: Path) -> None:
    """As `pretrain` does, one step of the optimizer included, with hashes that fit."""
    sign(folder / LAST)
    data = open_data(folder / "data")
    recipe = load(PretrainRecipe, "pretrain", str(folder / "run/recipe.toml"), [f"data={folder / 'data'}"]).settings
    objective = initial_objective(recipe, data.tokenizer)
    rows = StagedRows(data, recipe)
    found = newest_checkpoint(folder / "run", objective, recipe.optimizer_state_shapes(objective), rows.check)
    assert found.state.step in (2, 4) and 0 < found.state.tokens <= found.state.step * 4 * 16
    optimizer = build_optimizer(objective, recipe.optimizer)
    checkpoints.restore(found, objective, optimizer)
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    next(rows.batches(0, found.state))


def read_log(folder: Path) -> None:
    path = folder / "run/metrics.jsonl"
    lines = read_metrics(path)
    MetricsLog(folder / "run", 2).close()
    assert read_metrics(path) == [line for line in lines if line["step"] <= 2]
    assert all(isinstance(line["split"], str) and line["step"] >= 0 for line in lines)


def read_recipe_file(folder: Path) -> None:
    path = folder / "run/recipe.toml"
    settings = load(PretrainRecipe, "pretrain", str(path)).settings
    again = folder / "again.toml"
    again.write_text(to_toml(settings))
    assert load(PretrainRecipe, "pretrain", str(again)).settings == settings
    given = {key: value for key, value in read_toml(path).items() if not isinstance(value, dict)}
    assert all(
        getattr(settings, key) == (tuple(value) if isinstance(value, list) else value) for key, value in given.items()
    )
    read_run(folder)


@few_and_many
@pytest.mark.parametrize("name", ["run/manifest.json", f"{LAST}/manifest.json", f"{LAST}/state.json"])
def test_json(original: Path, name: str, examples: int, tmp_path: Path):
    content = (original / name).read_bytes()
    attack(mutated(content), examples // 2, original, name, read_run, tmp_path)
    attack(mutated_json(json.loads(content)), examples // 2, original, name, read_run, tmp_path)


@few_and_many
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_tensors(original: Path, name: str, examples: int, tmp_path: Path):
    content = (original / LAST / name).read_bytes()
    head = int.from_bytes(content[:8], "little")
    attack(mutated(content), examples // 2, original, f"{LAST}/{name}", resume, tmp_path)
    described = mutated_json(json.loads(content[8 : 8 + head]))
    rebuilt = described.map(lambda text: len(text).to_bytes(8, "little") + text + content[8 + head :])
    attack(rebuilt, examples // 2, original, f"{LAST}/{name}", resume, tmp_path)


@few_and_many
def test_a_state_that_was_signed_anew(original: Path, examples: int, tmp_path: Path):
    content = json.loads((original / LAST / "state.json").read_text())
    attack(mutated_json(content), examples, original, f"{LAST}/state.json", resume, tmp_path)


@few_and_many
def test_metrics(original: Path, examples: int, tmp_path: Path):
    content = (original / "run/metrics.jsonl").read_bytes()
    attack(mutated(content), examples, original, "run/metrics.jsonl", read_log, tmp_path)


@few_and_many
def test_a_recipe(original: Path, examples: int, tmp_path: Path):
    snippets = (
        b"nan", b"inf", b"1e308", b"9" * 5000, b"[" * 3000, b"\x00", b"\x1b[2J", b"[a.b.c]\n", b"'''", b"=",
        b"1979-05-27",
        b"plan.hours = 1e308\n", b"\n[model]\n", b"true", b"\xff", b"0x", b'"\\u001b" = 1\n', b"{}", b"x = {y = " * 50,
    )  # fmt: skip
    content = (original / "run/recipe.toml").read_bytes()
    attack(mutated(content, snippets), examples, original, "run/recipe.toml", read_recipe_file, tmp_path)


def test_a_short_tensor_of_the_optimizer_is_damage_and_the_checkpoint_before_is_taken(original, tmp_path, capsys):
    from safetensors.torch import save_file

    folder = shutil.copytree(original, tmp_path / "copy")
    path = folder / LAST / "optimizer.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if name.endswith(".exp_avg_sq") and tensor.ndim == 2)
    for wrong in (tensors[name][:1], tensors[name].double(), None):
        changed = tensors | {name: wrong} if wrong is not None else {k: v for k, v in tensors.items() if k != name}
        save_file({key: tensor.contiguous() for key, tensor in changed.items()}, path)
        sign(folder / LAST)
        recipe = load(PretrainRecipe, "pretrain", str(folder / "run/recipe.toml"), [f"data={folder / 'data'}"]).settings
        objective = initial_objective(recipe, open_data(folder / "data").tokenizer)
        with pytest.raises(UserError, match=f"optimizer.safetensors: damaged .*{name}"):
            checkpoints.check_module(
                checkpoints.read(folder / LAST), objective, recipe.optimizer.state_shapes(objective)
            )
        shutil.copytree(folder / "run", folder / "again", dirs_exist_ok=True)
        assert pretrain(recipe, folder / "again")["steps"] == 4
        said = capsys.readouterr().err
        assert (
            f"again/checkpoints/step-00000004/optimizer.safetensors: damaged ({'it has no ' * (wrong is None)}" in said
        )
        assert "trying the one before it" in said and "step-00000002 (step 2)" in said
        ended = load_file(folder / "again/checkpoints/step-00000004/model.safetensors")
        known = load_file(folder / "known/step-00000004/model.safetensors")
        assert all(torch.equal(ended[key], known[key]) for key in known)
        assert folder_type(folder / "again") == "pretrain" and read_json(folder / "again/manifest.json")["finished"]
        shutil.rmtree(folder / "again")
