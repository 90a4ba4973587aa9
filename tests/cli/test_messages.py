"""What is said of mistakes, and the commands that are said to be next: short, plain, fit for a shell and a terminal."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bertsmith
from bertsmith.__main__ import main
from bertsmith.cli.answers import say_line
from bertsmith.cli.show import print_facts
from bertsmith.console.shell import command, quote
from bertsmith.convert import export
from bertsmith.errors import MAX_LINE, UserError, printable, quoted, shortened
from bertsmith.predict.pipelines import Line
from bertsmith.storage.manifests import write_manifest

LONG = "9" * 5000


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the program here; returns its exit status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bertsmith", *arguments])
        monkeypatch.setattr(sys, "stderr", sys.stderr)
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["show", "bert-tiny", f"plan.steps={LONG}"], ["plan.steps", "999"]),
        (["show", "bert-tiny", f"plan.tokens=0x{'f' * 5000}"], ["plan.tokens"]),
        (["plan", "bert-tiny", "plan.hours=1e308"], ["plan.hours", "1e+308"]),
        (["plan", "bert-tiny", "schedule.learning_rate=1e999"], ["schedule.learning_rate", "finite"]),
        (["plan", "bert-tiny", "--vocab-size", LONG], ["--vocab-size"]),
        (["plan", "bert-tiny", "model.hidden_size=99999999999968", "model.num_attention_heads=1"], ["out of memory"]),
        (["show", "a" * 9000], ["aaa"]),
        (["show", "bert-tiny", f"{'a' * 9000}=3"], ["no such setting"]),
        (["show", "bert-tiny", f"plan.hours={'b ' * 9000}"], ["plan.hours", "b b"]),
        (["show", "\x1b[31mred"], ["\\x1b[31mred"]),
        (["\x1b]0;title\x07"], ["No such command"]),
        (["pretrain", "bert-tiny", "data=caf\udce9", "--out", "run"], ["caf\\udce9", "UTF-8"]),
        (["prepare", "text", "corpus=foo://there", "vocab=v", "--out", "data"], ["foo"]),
        (["pretrain", "bert-tiny", "data=foo://there", "--out", "run"], ["foo://there", "Protocol not known"]),
        (["pretrain", "bert-tiny", "data=d", "init=https://a.b/c", "--out", "run"], ["init", "https:/"]),
        (["pretrain", "bert-tiny", "data=d", "--out", "gs://bucket/run"], ["--out", "gs://bucket/run"]),
        (["prepare", "text", "corpus=s3://a", "vocab=hf://b", "--out", "data"], ["vocab", "hf://b"]),
        (
            ["finetune", "several", "model=m", "data=d", "several.folders={cola='s3://x'}", "--out", "r"],
            ["several.folders", "s3://x"],
        ),
        (["finetune", "cola", "model=hf://m", "data=d", "--out", "run"], ["model", "hf://m"]),
        (["glue", "s3://m", "data=d", "--out", "run"], ["s3://m"]),
        (["export", "run", "s3://out"], ["s3://out"]),
        (["import", "https://there/model", "out"], ["https://there/model"]),
        (["report", "run", "s3://run", "--out", "page.html"], ["s3://run"]),
        (["report", "run", "--out", "s3://page.html"], ["--out", "s3://page.html"]),
        (["predict", "run", "--file", "s3://texts.tsv"], ["--file", "s3://texts.tsv"]),
        (["score", "run", "s3://texts.txt"], ["s3://texts.txt"]),
        (["grade", "rte", "s3://gold", "predictions"], ["s3://gold"]),
        (["download", "vocab", "--out", "s3://vocab"], ["s3://vocab"]),
        (["show", "s3://run"], ["s3://run"]),
        (["pretrain", "bert-tiny", "data=d", "--out", "r", "--batch_size", "64"], ["batch_size=64"]),
        (["pretrain", "bert-tiny", "--plan.steps=7", "data=d", "--out", "r"], ["plan.steps=7"]),
        (["finetune", "cola", "--learning-rate", "1e-4"], ["schedule.learning_rate=1e-4"]),
        (["glue", "m", "--protocol", "cramming"], ["protocol=cramming"]),
        (["prepare", "text", "--vocab", "my vocab.txt"], ["'vocab=my vocab.txt'"]),
        (["evaluate", "run", "--data", "d"], ["data=d"]),
        (["pretrain", "bert-tiny", "--frobnicate", "3"], ["--frobnicate", "--help"]),
    ],
)  # fmt: skip
def test_a_mistake_is_short_and_plain_and_leaves_nothing(run, monkeypatch, tmp_path, arguments, parts):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    lines = err.splitlines()
    assert (status, out) == (2, "") and 1 <= len(lines) <= 3, err
    assert all(line.isprintable() and len(line) <= MAX_LINE + len("bertsmith: ") for line in lines)
    assert all(part in err for part in parts), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "search", "glue", "quickstart"])
def test_one_of_several_ranks_is_refused_before_anything_is_written(run, monkeypatch, tmp_path, verb):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = [] if verb == "quickstart" else ["bert-tiny" if verb == "pretrain" else "cola"]
    status, _, err = run(verb, *first, *(["data=d", "model=m"] if verb in ("finetune", "search") else []),
                         *(["data=d"] if verb in ("pretrain", "glue") else []), "--out", "run")  # fmt: skip
    assert status == 2 and "WORLD_SIZE=2" in err and "torchrun" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["1", "", "one"])
def test_a_lone_rank_trains(run, monkeypatch, tmp_path, size):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert "WORLD_SIZE" not in run("pretrain", "bert-tiny", "data=d", "--out", "run")[2]


def test_show_without_a_name_lists_verbs_recipes_and_the_settings_that_no_recipe_has(run):
    status, out, _ = run("show")
    assert status == 0
    for verb, about in {
        "prepare": "Turn raw text",
        "plan": "Estimate time and cost",
        "grade": "Score",
    }.items():
        assert re.search(rf"^{verb} +{about}", out, re.MULTILINE), verb
    for recipe, about in {"bert-tiny": "BERT-tiny", "cola": "CoLA", "jsonl": "JSON lines"}.items():
        assert re.search(rf"^{recipe} +{about}", out, re.MULTILINE), recipe
    assert "tokenizer: kind, special_tokens, normalization, size, extend, megabytes\n" in out
    assert "glue: protocol, from_mnli\n" in out
    assert out.endswith("next: bertsmith show bert-small-owt\n")


def test_show_of_a_folder_with_runs_inside_names_them(run, tmp_path):
    for name in ("one", "the other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "one" / "config.json").write_text("{}")
    write_manifest(tmp_path, "quickstart", {})
    status, _, said = run("show", str(tmp_path))
    assert status == 2 and "nor a model; it has 2 inside, try `bertsmith show " in said
    assert f"`bertsmith show {tmp_path}/one`, `bertsmith show '{tmp_path}/the other'`" in said


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_hint_after_an_export_is_a_command_that_a_shell_takes(tmp_path, monkeypatch, is_installed):
    folder = tmp_path / "it's \N{GRINNING FACE}"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    monkeypatch.setattr(export, "find_spec", lambda name: name if is_installed else None)
    hint = export.how_to_load(folder)
    assert hint.startswith("python -m pip install transformers && ") != is_installed
    code = shlex.split(hint)[-1]
    assert code == f'from transformers import BertModel; print(BertModel.from_pretrained("{folder}"))'


@pytest.mark.parametrize(
    ("verb", "key", "default"),
    [("tokenizer", "megabytes", "300"), ("glue", "protocol", '"reference"'), ("pretrain", "plan.steps", "–"),
     ("pretrain", "data", "needed"), ("search", "search.epochs", "[]"), ("import", "heads", "")],
)  # fmt: skip
def test_show_of_a_verb_lists_its_settings(run, verb, key, default):
    status, out, _ = run("show", verb)
    assert status == 0 and re.search(rf"^{re.escape(key)} +{re.escape(default)} ", out, re.MULTILINE), out


def allocate_numpy() -> None:
    np.empty(1 << 60, dtype=np.uint8)


def allocate_torch() -> None:
    import torch

    torch.empty(1 << 60, dtype=torch.uint8)


def panic() -> None:
    raise type("PanicException", (BaseException,), {})("called `Option::unwrap()`\non a `None` value")


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        (allocate_numpy, "out of memory (1.00 EiB more were asked for)"),
        (allocate_torch, "out of memory (1,152,921,504.6 GB more were asked for)"),
        (lambda: bytearray(1 << 62), "out of memory: "),
        (lambda: int(1e308 * 10), "a number is too large"),
        (panic, "a library failed (called `Option::unwrap()` on a `None` value)"),
    ],
)
def test_memory_that_is_not_there_is_one_line(run, monkeypatch, fail, says):
    monkeypatch.setattr("bertsmith.cli.show.show", lambda *_: fail())
    status, _, err = run("show", "bert-tiny")
    assert status == 2 and err.startswith(f"bertsmith: {says}") and err.count("\n") == 1, err


WORDS = [
    "plain", "", "a b", "it's", '"', "$HOME", "`ls`", "*", "~", "a\nb", "tab\there", "\x1b[2J", "caf\udce9", "\\",
    "\x07'\\", "é", "\u202eabc", "#", "a;b", "!x", "key=my data", "--out", "\x01f",
]  # fmt: skip


def test_a_command_is_read_back_by_a_shell_as_it_was_meant():
    line = command(*WORDS, Path("-x"), Path("a b/-c"), None)
    assert line.isprintable()
    script = f"for word in {line}; do printf '%s\\0' \"$word\"; done"
    read = subprocess.run(["bash", "-c", script.encode()], capture_output=True, check=True).stdout
    words = read.decode(errors="surrogateescape").split("\0")[:-1]
    assert words == [*WORDS, "./-x", "a b/-c"]


def test_a_path_is_no_option():
    assert quote(Path("-run")) == "./-run" and quote("--out") == "--out" and quote(Path("run")) == "run"


def test_long_values_keep_their_ends():
    assert shortened("a" * 150 + "b" * 150) == "a" * 133 + "…" + "b" * 66 and len(shortened("x" * 201)) == 200
    assert shortened("x" * 200) == "x" * 200
    path = f"/tmp/{'deep/' * 900}last.txt"
    said = str(UserError(f"{path}: no such file\nlast checkpoint: none"))
    assert said.startswith("/tmp/deep/") and said.endswith("/last.txt: no such file\nlast checkpoint: none")
    assert len(said) < 300
    assert len(str(UserError("a word " * 1000))) <= MAX_LINE
    assert quoted(10**5000) == "a int that cannot be shown"


HOSTILE = "bad\x1b]0;owned\x07\x9b2J\u202elabel"


def test_labels_tokens_and_paths_reach_no_terminal_raw(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = Line([f"{HOSTILE}\t0.9"], {"label": HOSTILE, "prob": 0.9})
    say_line(line, False, "\t")
    say_line(line, True, "\t")
    print_facts(HOSTILE, {HOSTILE: HOSTILE, "flag": True})
    plain, exact, *facts = capsys.readouterr().out.splitlines()
    assert plain == f"{printable(HOSTILE)}\t0.9" and plain.replace("\t", "").isprintable()
    assert json.loads(exact) == line.content and exact.isprintable()
    assert len(facts) == 3 and all(text.isprintable() for text in facts)
    status, out, _ = run("show", "bert-tiny", f"data={HOSTILE}")
    assert status == 0 and all(text.isprintable() for text in out.splitlines())
    assert "$'data=bad\\x1b]0;owned" in out
    folder = tmp_path / HOSTILE
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"kind": HOSTILE}))
    for arguments in (["show", HOSTILE], ["report", HOSTILE], ["export", HOSTILE, "out"], ["predict", HOSTILE, "x"],
                      ["prepare", "text", f"corpus={HOSTILE}", f"vocab={HOSTILE}", "--out", "data"],
                      ["finetune", "custom", f"model={HOSTILE}", f"data={HOSTILE}", "--out", HOSTILE]):  # fmt: skip
        status, out, err = run(*arguments)
        assert (status, out) == (2, "") and all(text.isprintable() for text in err.splitlines()), (arguments, err)


def test_values_of_files_and_of_the_command_line_are_quoted_within_a_bound():
    """`quoted` cuts what it quotes; a bare repr is for what is ours alone: names of keys, kinds, numbers."""
    ours = {"value", "recipe.layout", "usual", "near[0]", "name", "weight", "str(folder)"}
    bare = {
        found
        for path in Path(bertsmith.__file__).parent.rglob("*.py")
        for found in re.findall(r"\{([^{}]+)!r\}", path.read_text())
    }
    assert bare <= ours, bare - ours
