"""The real run of benchmarks/gpu_run.py, all of it, at toy size on the CPU."""

import json
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import deadline, gpu_arms, gpu_run, pieces
from benchmarks.gpu_arms import Arm, command_of, folder_of, read_plan, standing_of
from bertsmith.cli.app import app
from bertsmith.storage.json_files import read_json
from tests.test_benchmarks import toy_glue
from tests.toys import WORDS, write_corpus

TOY = (
    "model.hidden_size=64", "model.embedding_size=64", "model.num_hidden_layers=1", "model.num_attention_heads=1",
    "model.max_position_embeddings=128", "rows.kind=windows", "rows.length=32", "batch_size=8", "evaluate_rows=16",
    "plan.log_steps=5", "schedule.learning_rate=2e-3",
)  # fmt: skip
OWN, TWIN, PEER = "toy", "toy, RTD", "toy HF"
ARMS = {
    OWN: Arm("bert-tiny", (*TOY, "stages=[{tokens=2000, batch_size=16, length=16}]")),
    TWIN: Arm("bert-tiny", (*TOY, "objective.kind=rtd", "objective.generator.hidden_fraction=1.0")),
    PEER: Arm("bert-tiny", TOY, ("--hidden-size=64", "--layers=1", "--rate=2e-3", "--warmup=0.1")),
}
FLOPS = 1e10


def toy_shared(folder: Path) -> Path:
    """Corpora, two tasks and two paradigms in the layouts of the real ones."""
    (folder / "corpora").mkdir(parents=True)
    write_corpus(folder / "corpora")
    toy_glue(folder / "glue")
    rng = np.random.default_rng(0)
    (folder / "blimp").mkdir()
    for name in ("first", "second"):
        lines = [
            {"sentence_good": " ".join(rng.choice(WORDS, 4)), "sentence_bad": " ".join(rng.choice(WORDS, 4)),
             "UID": name, "linguistics_term": "toys"}
            for _ in range(10)
        ]  # fmt: skip
        (folder / "blimp" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def run(monkeypatch):
    """Run a step of the program; returns its exit status."""
    monkeypatch.setattr(gpu_run, "ARMS", ARMS)
    monkeypatch.setattr(gpu_run, "TASKS", {"cola": "CoLA", "sts-b": "STS-B"})

    def act(*arguments: object) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["gpu_run", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            gpu_run.main()
        return ended.value.code

    return act


def train_until(work: Path, pattern: str, run, monkeypatch, *arguments: object) -> None:
    """Train in a piece whose time is over as soon as there is something in a file of this pattern."""

    class Cut(deadline.Deadline):
        def left(self) -> float:
            return -1.0 if any(path.stat().st_size for path in work.glob(pattern)) else 60.0

    with monkeypatch.context() as patched:
        patched.setattr(gpu_run, "Deadline", Cut)
        assert run("train", work, "--device", "cpu", *arguments) == 0


@pytest.mark.parametrize("content", ['{"kind": "pretrain"}', '{"pieces": 3}', "[1]", "5", '{"pieces', "\xff"])
def test_other_json_files_are_no_cutting(tmp_path, content):
    root, given, store = tmp_path / "root", tmp_path / "given", tmp_path / "store"
    root.mkdir()
    (root / "text").write_text("some words")
    pieces.cut(root, ["text"], given, "words", 4096)
    for folder in (given, store):
        folder.mkdir(exist_ok=True)
        (folder / "other.json").write_text(content, encoding="latin-1")
    missing = pieces.collect(given, store)
    assert list(missing) == ["words"] and not any(missing.values())
    pieces.join(store, "words", tmp_path / "joined")
    assert (tmp_path / "joined/text").read_text() == "some words"


@pytest.mark.slow
def test_the_whole_run(tmp_path, run, monkeypatch, capsys):
    here, there, fresh = tmp_path / "here", tmp_path / "there", tmp_path / "fresh"
    shared = toy_shared(tmp_path / "shared")

    # Here: shards, a plan of equal operations, pieces.
    given = ("--shared", shared, "--corpora", "text=corpora/corpus", "--vocabulary", 200, "--heldout", 0.1)
    assert run("prepare", here, "--flops", FLOPS, *given) == 0
    plan = read_plan(here)
    assert list(plan["arms"]) == list(ARMS)
    for arm in plan["arms"].values():
        assert arm["flops"] == pytest.approx(FLOPS, rel=0.01)
        assert gpu_arms.so_far(arm, arm["steps"]) == (arm["tokens"], arm["flops"])
    for name in (TWIN, PEER):
        assert plan["arms"][name]["tokens"] == plan["arms"][name]["steps"] * 8 * 32
    stage, last = plan["arms"][OWN]["stages"]
    assert (stage[:2], last[:2]) == ([8, 256], [plan["arms"][OWN]["steps"] - 8, 256]) and stage[2] < last[2]
    assert gpu_arms.so_far(plan["arms"][OWN], 9) == (9 * 256, 8 * 256 * stage[2] + 256 * last[2])
    assert plan["arms"][TWIN]["steps"] < plan["arms"][OWN]["steps"], "a generator costs operations too"

    # There: unpacked, and two pieces of training that are cut short.
    assert [path.name for path in (here / "pieces").iterdir()] == ["0"]
    assert run("unpack", here / "pieces/0", there) == 0
    assert run("train", there, "--device", "cpu", "--minutes", 0) == 0
    assert not (there / "runs").exists(), "no time for anything"
    train_until(there, "runs/toy/metrics.jsonl", run, monkeypatch, "--arms", OWN, TWIN)
    train_until(there, "runs/toy_HF/trainer/checkpoint-*/watch.json", run, monkeypatch, "--arms", PEER)
    cut = {name: standing_of(there, name, plan["arms"][name]) for name in ARMS}
    assert not cut[TWIN].step, "its turn comes after the first is finished"
    for name in (OWN, PEER):
        assert 0 < cut[name].step < plan["arms"][name]["steps"] and not cut[name].finished

    # From there to another machine, a piece a call; a damaged piece is refused by name.
    assert run("carry", there, tmp_path / "out0", "--size", 1, "--files", 1) == 0
    assert run("carry", there, tmp_path / "out1", "--size", 1, "--files", 100, "--first", 1) == 0
    assert run("unpack", here / "pieces/0", fresh) == 0
    damaged = tmp_path / "out1" / "runs.001"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert run("unpack", tmp_path / "out1", fresh) == (
        f"{damaged}: damaged (its SHA-256 is not the one in runs.json); carry it again"
    )
    damaged.write_bytes(whole)
    capsys.readouterr()
    assert run("unpack", tmp_path / "out0", fresh) == 0
    assert "runs: still to come: runs.001" in capsys.readouterr().out
    assert not (fresh / "runs").exists()
    assert run("unpack", tmp_path / "out1", fresh) == 0
    assert {name: standing_of(fresh, name, plan["arms"][name])[:3] for name in ARMS} == {
        name: standing[:3] for name, standing in cut.items()
    }

    # Finished on the other one: the same bits as without a stop; the peer goes on from its step and its loss.
    assert run("train", fresh, "--device", "cpu") == 0
    ended = {name: standing_of(fresh, name, plan["arms"][name]) for name in ARMS}
    assert all(ended[name].finished and ended[name].step == plan["arms"][name]["steps"] for name in ARMS)
    uncut = tmp_path / "uncut"
    uncut.mkdir()
    (uncut / "data").symlink_to(fresh / "data")
    command = command_of(uncut, OWN, plan["arms"][OWN], "cpu")[1:]
    assert CliRunner().invoke(app, command).exit_code == 0
    weights = f"checkpoints/step-{plan['arms'][OWN]['steps']:08d}/model.safetensors"
    assert pieces.hash_of(folder_of(uncut, OWN) / weights) == pieces.hash_of(folder_of(fresh, OWN) / weights)
    curves = {name: [loss for *_, loss in ended[name].curve] for name in (OWN, PEER)}
    assert len(curves[PEER]) == 6 and len(curves[OWN]) >= 19
    assert curves[PEER][-1] < curves[PEER][0] and curves[OWN][-1] < curves[OWN][0]
    assert ended[PEER].seconds > cut[PEER].seconds > 0

    # Measured; what is there is not done again.
    toy = ("--device", "cpu", "--jobs", 2, "--seeds", 2, "--settings", "check_counts=false", "sequence_length=32")
    assert run("measure", fresh, "--arms", OWN, "--tasks", "cola", *toy) == 0
    capsys.readouterr()
    assert run("measure", fresh, "--arms", OWN, PEER, "--tasks", "cola", *toy) == 0
    measured = capsys.readouterr().out
    assert f"cola, {PEER}, 1" in measured and f"blimp, {PEER}, 1" in measured
    assert f", {OWN}," not in measured

    assert run("report", fresh, "--out", tmp_path / "report.json") == 0
    table = capsys.readouterr().out
    content = read_json(tmp_path / "report.json", dict)["report"]
    assert content["flops"] == FLOPS
    for name in (OWN, PEER):
        row = content["arms"][name]
        assert row["flops so far"] == pytest.approx(FLOPS, rel=0.01) and row["pinned_loss"] == curves[name][-1]
        trials = read_json(fresh / "scores" / folder_of(fresh, name).name / "cola" / "results.json", dict)["trials"]
        scores = [trial["metrics"]["mcc"] for trial in trials]
        assert row["tasks"]["cola"]["median"] == statistics.median(scores) and row["tasks"]["cola"]["seeds"] == 2
        assert row["blimp"]["pairs"] == 20 and row["mean of five"] is None, "two tasks of five"
        assert row["tokens/s"] == pytest.approx(row["tokens"] / row["seconds"])
    assert content["arms"][TWIN]["pinned_loss"] is None and content["arms"][TWIN]["finished"]
    assert content["published"]["curve"][0] == {"flops": 0.0625 * 1.15e18, "glue": 74.1}
    assert "79.9" in table and "unfinished" not in table


def test_an_unfinished_arm_is_named_and_a_command_that_fails_is_told(tmp_path, run, monkeypatch, capsys):
    arms = {name: arm._asdict() | {
        "steps": 10, "tokens": 2560, "flops": 1e9, "parameters": 1, "batch_size": 8, "length": 32, "stages": [],
    } for name, arm in ARMS.items()}  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps({"flops": 1e9, "arms": arms}))
    assert run("report", tmp_path) == 0
    assert "unfinished: toy HF, step 0 of 10" in capsys.readouterr().out
    monkeypatch.setattr(gpu_run, "command_of", lambda *given: ["bertsmith", "no-such-verb"])
    assert run("train", tmp_path, "--device", "cpu", "--arms", OWN) == 1
    out = capsys.readouterr().out
    assert "bertsmith no-such-verb: failed" in out and "No such command" in out
    assert run("train", tmp_path, "--device", "cpu", "--arms", "other") == (
        "--arms other: no such arm; there are toy, toy, RTD, toy HF"
    )


def test_a_command_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    ended = deadline.run_until(["http.server", "--bind", "127.0.0.1", "0"], deadline.Deadline(0), 20, tmp_path / "log")
    assert ended.how == "stopped"
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(60)\n"
    (tmp_path / "stubborn.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    class AfterStart(deadline.Deadline):
        def left(self) -> float:
            return -1.0 if (tmp_path / "stubborn.log").read_bytes() else 1.0

    assert deadline.run_until(["stubborn"], AfterStart(0), 0.1, tmp_path / "stubborn.log").how == "killed"


@pytest.mark.slow
def test_the_shipped_plan_has_equal_operations_and_the_peer_our_parameters(data):
    from argparse import Namespace

    from benchmarks.race_peer import network

    work = data.parent / "work"
    work.mkdir()
    shutil.copytree(data, work / "data")
    plan = gpu_arms.make_plan(work, 5e16, gpu_arms.ARMS)
    assert list(plan["arms"]) == ["fast-small", "electra-small-owt", "fast-small, RTD", "tuned HF"]
    for arm in plan["arms"].values():
        assert arm["flops"] == pytest.approx(5e16, rel=1e-3)
    model = network(Namespace(network="bert", hidden_size=256, layers=12, intermediate_size=None), 86)
    assert model.num_parameters() == plan["arms"]["tuned HF"]["parameters"]
    with pytest.raises(SystemExit, match="raise it"):
        gpu_arms.make_plan(work, 1e12, gpu_arms.ARMS)
    stages = "stages=[{tokens=1_000_000, length=64}]"
    with pytest.raises(SystemExit, match=r"--flops 1e\+10: staged: stages: 1,000,000 tokens together leave nothing"):
        gpu_arms.make_plan(work, 1e10, {"staged": Arm("electra-small-owt", (stages,))})
