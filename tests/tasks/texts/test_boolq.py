"""BoolQ in SuperGLUE's layout: what is read, what is refused, and a run of it."""

import json
from pathlib import Path

import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.published.boolq import read_boolq
from bertsmith.tasks.recipe import FinetuneRecipe
from tests.tasks.toy_task import make_model
from tests.toys import WORDS


def write_boolq(folder: Path, **changed: object) -> Path:
    """Eight examples to train and four for dev, in the task's folder."""
    path = folder / "BoolQ"
    path.mkdir(parents=True)
    for name, size in (("train", 8), ("val", 4)):
        lines = [
            {"question": WORDS[n], "passage": f"{WORDS[n + 1]} {WORDS[n + 2]}", "idx": n, "label": n % 3 == 0} | changed
            for n in range(size)
        ]
        (path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_questions_and_passages_are_pairs_and_labels_are_truth_values(tmp_path):
    data = read_boolq(write_boolq(tmp_path), check_counts=False)
    assert data.spec.labels == ("false", "true")
    assert data.train.targets.tolist() == [1, 0, 0, 1, 0, 0, 1, 0] and data.dev.num_examples == 4
    assert (data.dev.first[1], data.dev.second[1]) == (WORDS[1], f"{WORDS[2]} {WORDS[3]}")
    assert read_boolq(tmp_path / "BoolQ", check_counts=False).train.fingerprint() == data.train.fingerprint()


def test_what_cannot_be_boolq_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"8 examples where 9,427 were published; .* check_counts=false"):
        read_boolq(write_boolq(tmp_path / "toy"))
    with pytest.raises(UserError, match=r"no train.jsonl in it or in its folder BoolQ"):
        read_boolq(tmp_path, check_counts=False)
    with pytest.raises(UserError, match=r"train.jsonl, line 1: label is 'maybe'; the task's labels are false, true"):
        read_boolq(write_boolq(tmp_path / "odd", label="maybe"), check_counts=False)


def test_the_shipped_recipe_runs(tmp_path):
    overrides = [
        f"model={make_model(tmp_path)}", f"data={write_boolq(tmp_path)}", "check_counts=false", "seeds=1", "epochs=1",
        "sequence_length=32", "machine.device=cpu",
    ]  # fmt: skip
    results = finetune(load(FinetuneRecipe, "finetune", "boolq", overrides), tmp_path / "run")
    assert results["task"] == "boolq" and 0 <= results["summary"]["accuracy"]["mean"] <= 1
    lines = (tmp_path / "run/trials/seed-0/predictions-dev.tsv").read_text().splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == ["true", "false", "false", "true"]
