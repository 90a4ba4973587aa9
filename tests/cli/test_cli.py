"""The command line as people script it: names, exit statuses, what goes to which stream."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bertsmith import __version__
from bertsmith.__main__ import main
from tests.toys import write_corpus, write_vocabulary

ROOT = Path(__file__).resolve().parents[2]


def bertsmith(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bertsmith", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )


def test_version_and_help_are_there_and_name_every_verb():
    assert bertsmith("--version").stdout == f"bertsmith {__version__}\n"
    text = bertsmith("--help").stdout
    for verb in (
        "download", "tokenizer", "prepare", "pretrain", "finetune", "search", "glue", "submit", "grade", "evaluate",
        "predict", "score", "export", "import", "report", "show", "plan", "recipe", "doctor",
    ):  # fmt: skip
        assert re.search(rf"^  {verb} ", text, re.MULTILINE)


def test_the_main_job_from_the_command_line(tmp_path, monkeypatch, run_main):
    """tokenizer → prepare → pretrain → show → export → report, each ending with what it wrote and what comes next."""
    corpus = write_corpus(tmp_path, documents=120)
    steps = [
        ["tokenizer", "text", f"corpus={corpus}", "size=120", "--out", "vocabulary"],
        ["prepare", "text", f"corpus={corpus}", "vocab=vocabulary", "heldout_fraction=0.1", "--out", "data"],
        [
            "pretrain", "bert-tiny", "data=data", "plan.steps=6", "model.hidden_size=16", "model.num_attention_heads=2",
            "plan.evaluate_steps=3", "rows.length=32", "batch_size=4", "evaluate_rows=8", "--out", "run",
        ],
        ["export", "run", "run-hf"],
        ["import", "run-hf", "imported"],
        ["tokenizer", "text", f"corpus={corpus}", "extend=imported", "size=150", "--out", "larger"],
        ["prepare", "text", f"corpus={corpus}", "vocab=larger", "heldout_fraction=0.1", "--out", "larger-data"],
        [
            "pretrain", "run/recipe.toml", "data=larger-data", "init=imported", "plan.steps=2", "--out", "second-run",
        ],
        ["report", "run"],
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for step in steps:
        status, stdout, stderr = run_main(*step)
        assert status == 0, f"{step}: {stderr}"
        assert "wrote " in stdout and "next: " in stdout, stdout
        assert "Traceback" not in stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    for what in ("data", "run", "bert-tiny", "run/recipe.toml"):
        status, stdout, stderr = run_main("show", what)
        assert status == 0, stderr
        assert "hidden_size" in stdout or "tokens" in stdout
    status, _, stderr = run_main("pretrain", "bert-tiny", "data=data", "--out", "run")
    assert status == 2 and "belongs to another run" in stderr


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["prepare", "text", "corpus=none", "vocab=vocab.txt", "--out", "data"], ["none"]),
        (["prepare", "txt", "--out", "data"], ["txt", "text"]),
        (["prepare", "text", "corpse=x", "--out", "data"], ["corpse", "corpus"]),
        (["prepare", "text", "corpus=corpus", "vocab=broken.txt", "--out", "data"], ["broken.txt", "[MASK]"]),
        (["pretrain", "bert-tiny", "data=none", "--out", "run"], ["none", "manifest.json"]),
        (["pretrain", "bert-tiny", "data=none", "plan.steps=many", "--out", "run"], ["plan.steps", "many"]),
        (["pretrain", "bert-tiny", "data=none", "rows.length=600", "--out", "run"], ["600", "512"]),
        (["plan", "bert-tiny", "rows.length=600"], ["600", "512"]),
        (["plan", "bert-tiny", "--utilisation", "2"], ["--utilisation 2"]),
        (["finetune", "cola", "model=none", "data=none", "--out", "run"], ["none"]),
        (["grade", "rte", "none.tsv", "vocab.txt"], ["none.tsv"]),
        (["grade", "squad", "none", "none"], ["squad", "squad-v1.1"]),
        (["glue", "none", "data=corpus", "--out", "run"], ["corpus", "download glue"]),
        (["submit", "none", "out.zip"], ["none", "bertsmith glue"]),
        (["export", "none", "out"], ["none"]),
        (["import", "none", "out"], ["none: no such folder", "hf download"]),
        (["import", "none", "out", "vocabulary=x"], ["vocabulary", "vocab"]),
        (["report", "none"], ["none"]),
        (["report", "corpus", "--out", "."], [".: a folder; name a file to write"]),
        (["evaluate", "corpus", "--out", "corpus"], ["corpus: a folder; name a file to write"]),
        (["import", ".", "out"], ["no model"]),
        (["predict", "corpus", "--file", ""], ["--file: no name"]),
        (["recipe", "--from-electra", "none.json"], ["none.json"]),
        (["show", "none"], ["none"]),
        (["download", "everything", "--out", "data"], ["everything"]),
    ],
)
def test_a_mistake_is_one_or_two_lines_and_status_2(tmp_path, monkeypatch, run_main, arguments, parts):
    write_corpus(tmp_path, documents=3)
    write_vocabulary(tmp_path)
    (tmp_path / "broken.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    monkeypatch.chdir(tmp_path)
    status, _, stderr = run_main(*arguments)
    assert status == 2, stderr
    assert 1 <= len(stderr.strip().splitlines()) <= 3, stderr
    assert all(part in stderr for part in parts), stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "data").exists() and not (tmp_path / "run").exists(), "something half-written is left"


def test_a_name_that_show_does_not_know_is_looked_for_among_all_recipes(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    assert "did you mean squad-v" in run_main("show", "squad")[2]
    listed = run_main("show", "runs/mine")[2]
    assert "openwebtext" in listed and "bert-tiny" in listed and "squad-v2.0" in listed


def test_the_stack_is_shown_to_those_who_ask(tmp_path):
    assert "Traceback" in bertsmith("show", "none", "--traceback", cwd=tmp_path).stderr


def test_a_folder_without_write_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    done = bertsmith("pretrain", "bert-tiny", "data=none", "--out", tmp_path / "closed" / "run")
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("device", "status", "says"),
    [(None, 1, ""), ("/dev/full", 2, "bertsmith: standard output: No space left on device\n")],
)
def test_what_standard_output_does_not_take_is_no_traceback(device, status, says):
    """A pipe that nobody reads, as of `| head` that has seen enough; a disk that is full."""
    if device is None:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(device, os.O_WRONLY)
    command = [sys.executable, "-m", "bertsmith", "show", "openwebtext"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.stderr, done.returncode) == (says, status)


def test_a_closed_folder_is_said_in_one_line(monkeypatch, capsys):
    program = typer.Typer()

    @program.callback(invoke_without_command=True)
    def look():
        raise PermissionError(errno.EACCES, "Permission denied", "/closed/train.tsv")

    monkeypatch.setattr("bertsmith.cli.app.app", program)
    monkeypatch.setattr(sys, "argv", ["bertsmith"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "bertsmith: /closed/train.tsv: Permission denied\n"


def test_the_quickstart_says_what_it_wrote_and_what_comes_next(tmp_path, monkeypatch, run_main):
    monkeypatch.setattr("bertsmith.quickstart.run.quickstart", lambda out, report, overwrite: report("a result"))
    status, stdout, _ = run_main("quickstart", "--out", tmp_path / "out")
    assert status == 0 and "a result" in stdout and f"wrote {tmp_path / 'out/report.html'}" in stdout
    assert f"next: bertsmith pretrain fast-tiny data={tmp_path / 'out/data'}" in stdout
