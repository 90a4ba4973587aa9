"""`prepare` names a next command that fits its text and its vocabulary, and that runs."""

import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.cli.arguments import what_to_pretrain
from bertsmith.convert.export import export_run
from bertsmith.training.pretrain import pretrain
from tests.tasks.toy_task import make_model
from tests.toys import make_data, tiny_recipe


@pytest.mark.parametrize(
    ("num_tokens", "recipe"),
    [(1_000, "bert-tiny"), (19_999_999, "bert-tiny"), (20_000_000, "bert-mini"), (299_999_999, "bert-mini"),
     (300_000_000, "bert-small-owt"), (9_000_000_000, "bert-small-owt")],
)  # fmt: skip
def test_a_recipe_of_the_texts_size(num_tokens, recipe):
    words = what_to_pretrain(Path("data/mine"), Path("vocab.txt"), num_tokens)
    assert words == ["pretrain", recipe, "data=data/mine", "--out", f"runs/{recipe}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A BERT, a run of masked tokens, an ELECTRA's run and its export, a tokenizer alone."""
    folder = tmp_path_factory.mktemp("made")
    make_model(folder)
    data = make_data(folder).path
    pretrain(tiny_recipe(data, "plan.steps=1"), folder / "mlm")
    pretrain(tiny_recipe(data, "plan.steps=1", "objective.kind=rtd"), folder / "rtd")
    export_run(folder / "rtd", folder / "electra")
    shutil.copytree(folder / "model", folder / "tokenizer")
    (folder / "tokenizer/model.safetensors").unlink()
    return folder


@pytest.mark.parametrize(
    ("vocab", "next_words"),
    [
        ("vocab.txt", ["bert-tiny"]), ("tokenizer", ["bert-tiny"]), ("model", ["continue", "init=model"]),
        ("mlm", ["continue", "init=mlm"]), ("rtd", ["continue", "init=rtd", "objective.kind=rtd"]),
        ("electra/discriminator", ["continue", "init=electra", "objective.kind=rtd"]),
    ],
)  # fmt: skip
def test_what_is_said_runs(made, monkeypatch, tmp_path, vocab, next_words):
    monkeypatch.chdir(made)
    out = tmp_path / "own data"
    prepared = ["prepare", "text", "corpus=corpus", f"vocab={vocab}", "heldout_fraction=0.2", "workers=1"]
    done = CliRunner().invoke(app, [*prepared, "--out", str(out)])
    assert done.exit_code == 0, done.output + repr(done.exception)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("next: ")]
    program, verb, *words = shlex.split(line.removeprefix("next: "))
    assert (program, verb) == ("bertsmith", "pretrain") and words[: len(next_words)] == next_words
    assert words[len(next_words)] == f"data={out}"
    words[-1] = str(tmp_path / "run")
    short = ["plan.steps=1", "batch_size=2", "rows.length=16", "machine.device=cpu", "log=[]"]
    short += ["head_warmup.steps=0"] if "continue" in words else []
    done = CliRunner().invoke(app, ["pretrain", *words[:-2], *short, *words[-2:]])
    assert done.exit_code == 0, done.output + repr(done.exception)
