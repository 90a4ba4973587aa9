"""What is written over: a file that bertsmith wrote, and no other."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.errors import UserError
from bertsmith.predict.submit import AnswerFileSettings, SubmitSettings, submit, write_answers, write_submission
from bertsmith.reports import markup
from bertsmith.storage.file_types import ANSWERS_FILE, EVALUATION_FILE, PAGE_FILE, SUBMISSION_FILE, check_output
from bertsmith.storage.json_files import write_json


def write_ours(folder: Path) -> dict[str, Path]:
    """Write a file of each kind; return them by kind."""
    files = {kind: folder / f"ours.{kind}" for kind in ("page", "evaluation", "answers", "archive")}
    files["page"].write_text(markup.frame("a title", "a body", "{}", "a script"), encoding="utf-8")
    files["evaluation"].write_text(json.dumps({"heldout": {"mlm_loss": 1.0}}), encoding="utf-8")
    write_json(files["answers"], {"a": "an answer", "b": ""})
    write_submission(files["archive"], {"RTE.tsv": "index\tprediction\n", "AX.tsv": "index\tprediction\n"})
    return files


KINDS = {"page": PAGE_FILE, "evaluation": EVALUATION_FILE, "answers": ANSWERS_FILE, "archive": SUBMISSION_FILE}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_stays(tmp_path, kind):
    ours = write_ours(tmp_path)
    foreign = tmp_path / "foreign"
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("RTE.tsv", "")
        archive.writestr("notes.txt", "mine")
    contents = [
        b"my own notes",
        b"{}x",
        b'{"a": 1}',
        b'{"a": "text"}',
        b"<html>",
        (tmp_path / "foreign.zip").read_bytes(),
    ]
    contents += [path.read_bytes() for name, path in ours.items() if name != kind]
    for content in contents:
        foreign.write_bytes(content)
        with pytest.raises(UserError, match=f"foreign: is there already and is no {KINDS[kind].title} of ours"):
            check_output(foreign, KINDS[kind])
        assert foreign.read_bytes() == content
    foreign.write_bytes(b"")
    for free in (ours[kind], foreign, tmp_path / "new"):
        check_output(free, KINDS[kind])


@pytest.mark.parametrize(
    "write",
    [
        lambda out: CliRunner().invoke(app, ["report", "run", "--out", str(out)], catch_exceptions=False),
        lambda out: CliRunner().invoke(app, ["evaluate", "run", "--out", str(out)], catch_exceptions=False),
        lambda out: submit(Path("run"), out.rename(out.with_suffix(".zip")), SubmitSettings()),
        lambda out: write_answers(
            Path("run"), out.rename(out.with_suffix(".json")), AnswerFileSettings(data="questions")
        ),
    ],
    ids=["report", "evaluate", "submit", "submit questions"],
)
def test_it_is_refused_before_anything_is_done(tmp_path, write):
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(UserError, match=r"is there already and is no .* of ours"):
        write(tmp_path / "mine")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["notes"]
