"""A verb that is refused leaves nothing new, however late the refusal comes."""

import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.tasks.finetune import finetune
from bertsmith.training.pretrain import pretrain
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.toys import make_data, tiny_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """What the verbs are given: models, runs and files that are well, and such as are refused late."""
    folder = tmp_path_factory.mktemp("made")
    make_model(folder)
    write_task(folder)
    make_data(folder)
    pretrain(tiny_recipe(folder / "data", "plan.steps=2"), folder / "run")
    export_run(folder / "run", folder / "exported")
    finetune(toy_recipe(folder / "model", folder / "task", "seeds=1", "epochs=0.1"), folder / "tuned")
    (folder / "blank.txt").write_text("\n \n")
    (folder / "empty").mkdir()
    with tarfile.open(folder / "broken.tar.xz", "w:xz") as archive:
        archive.add(folder / "vocab.txt", "a.txt")
    content = (folder / "broken.tar.xz").read_bytes()
    (folder / "broken.tar.xz").write_bytes(content[: len(content) // 2])
    (folder / "bad.csv").write_text("sentence,label\na,b,c\n")
    (folder / "bad").mkdir()
    for split in ("train", "dev"):
        (folder / f"bad/{split}.jsonl").write_text('{"sentence": "a", "label": 1}\n')
    (folder / "questions.json").write_text(json.dumps({"data": []}))
    (folder / "alone").mkdir()
    (folder / "alone/config.json").write_text("{}")
    return folder


REFUSED = [
    "tokenizer text corpus=blank.txt --out OUT", "tokenizer text corpus=broken.tar.xz --out OUT",
    "tokenizer text corpus=vocab.txt extend=alone --out OUT", "prepare text corpus=blank.txt vocab=vocab.txt --out OUT",
    "prepare text corpus=broken.tar.xz vocab=vocab.txt workers=1 --out OUT",
    "pretrain bert-tiny data=data init=alone --out OUT", "pretrain bert-tiny data=data blimp=empty --out OUT",
    "pretrain bert-tiny data=empty --out OUT", "finetune custom model=model data=bad --out OUT",
    "finetune custom model=alone data=task --out OUT", "finetune rte model=model data=task --out OUT",
    "finetune custom model=model data=task early_stopping.share=0.001 --out OUT",
    "search custom model=model data=bad --out OUT",
    "search custom model=model data=task sequence_length=9999 --out OUT",
    "glue model data=task --out OUT", "glue alone data=task --out OUT", "submit tuned OUT/a.zip data=task",
    "submit run OUT/a.json data=questions.json", "submit tuned OUT/a.json data=questions.json",
    "evaluate tuned --out OUT/a.json", "evaluate run data=empty --out OUT/a.json", "evaluate exported --out OUT/a.json",
    "predict tuned --file bad.csv --out OUT/a.csv", "predict tuned --file bad.jsonl --out OUT/a.csv",
    "predict tuned a\tb --out OUT/a.csv", "export alone OUT/a", "export tuned OUT/a --task rte", "import alone OUT/a",
    "import empty OUT/a", "report alone --out OUT/a.html", "report tuned empty --out OUT/a.html",
    "download it --out OUT", "quickstart --overwrite --out bad",
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("out", ["new", "new/inner"])
def test_nothing_new_is_left(made, monkeypatch, words, out):
    monkeypatch.chdir(made)
    before = sorted(made.rglob("*"))
    # A tab parts the two texts of a pair, and no words of the command.
    result = CliRunner().invoke(app, [word.replace("OUT", out) for word in words.split(" ")])
    assert result.exit_code not in (0, 1) or isinstance(result.exception, Exception), result.output
    assert isinstance(result.exception, UserError | SystemExit), repr(result.exception)
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize("words", ["tokenizer text corpus=blank.txt --out mine", "export alone mine/a"])
def test_a_folder_that_was_there_stays(made, monkeypatch, words):
    monkeypatch.chdir(made)
    (made / "mine").mkdir()
    assert CliRunner().invoke(app, words.split(" ")).exit_code != 0
    (made / "mine").rmdir()  # it is there, and empty
