"""Benchmarks at toy size on the CPU; that of the GPU where torch and transformers are all that is installed."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner

from tests.quickstart.test_quickstart import toy_texts
from tests.tasks.toy_task import make_model
from tests.test_imports import PACKAGE, with_requirements
from tests.toys import WORDS, write_corpus

CONTESTANTS = {"bertsmith", "bertsmith, no dropout", "transformers"}
CASES = {
    "toy ELECTRA-small", "toy ELECTRA-small, 128 rows", "toy BERT-small", "toy ELECTRA-base", "toy BERT-base"
}  # fmt: skip


def link_installed(names: set[str], folder: Path) -> None:
    """Make `folder` a place for packages that holds those of these distributions and no other."""
    for name in names:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            target = folder / top
            if not target.exists() and top != "__pycache__":
                target.symlink_to(distribution.locate_file(top))


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[dict, str]:
    """What the toy run wrote and printed."""
    folder = tmp_path_factory.mktemp("gpu")
    site = folder / "site"
    site.mkdir()
    link_installed(with_requirements("transformers", with_requirements("torch", {"numpy"})), site)
    # Without `site`, -S, Python finds only what is on its path; what is not there is not installed.
    command = [sys.executable, "-S", "-m", "benchmarks.gpu", "--toy", "--out", str(folder / "gpu.json")]
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PACKAGE.parent, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "gpu.json").read_text()), done.stdout


@pytest.mark.slow
def test_every_check_passes(ran):
    checks = ran[0]["checks"]
    assert set(checks) == {
        "attention kernels agree",
        "masked tokens agree, float32", "replaced tokens agree, float32",
        "masked tokens agree, bfloat16", "replaced tokens agree, bfloat16",
        "a run compiles once",
    }  # fmt: skip
    assert all(figures["passed"] for figures in checks.values()), checks
    assert checks["a run compiles once"]["first step"] > 0
    assert "checks: all passed" in ran[1]


@pytest.mark.slow
def test_every_contestant_is_measured_in_every_case(ran):
    content, _ = ran
    assert "skipped" not in content
    trials = {(trial["what"], trial["who"]): trial for trial in content["trials"]}
    assert set(trials) == {(what, who) for what in CASES for who in CONTESTANTS} | {
        ("toy ELECTRA-small, the loop of pretrain", "bertsmith")
    }
    for trial in trials.values():
        assert trial["tokens/s"] > 0 and 0 < trial["peak share"] < 1.5
    assert "torch" in content["machine"] and content["peak"]["measured TFLOP/s"] > 0


def exit_status(gpu) -> int:
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    return ended.value.code


@pytest.mark.slow
def test_a_check_that_does_not_pass_is_the_programs_status(tmp_path, monkeypatch, capsys):
    from benchmarks import gpu

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--out", str(out), "--parts", "checks"])
    monkeypatch.setattr(gpu, "losses_agree", lambda *arguments: {"passed": False, "difference": 1.0})
    monkeypatch.setattr(gpu, "compiles_once", lambda *arguments: {"passed": True})
    assert exit_status(gpu) == 1
    assert not json.loads(out.read_text())["checks"]["masked tokens agree, float32"]["passed"]
    assert "checks: FAILED: masked tokens agree, float32" in capsys.readouterr().out
    monkeypatch.setattr(gpu, "losses_agree", lambda *arguments: {"passed": True})
    assert exit_status(gpu) == 0, "what is measured anew takes the old one's place"


@pytest.mark.slow
def test_what_fails_or_comes_too_late_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    from benchmarks import gpu

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--out", str(out)])
    monkeypatch.setattr(gpu.Benchmark, "check", lambda self: None)
    monkeypatch.setattr(gpu, "CASES", {"BERT-small": gpu.CASES["BERT-small"]})
    monkeypatch.setattr(gpu.Benchmark, "print_table", lambda self: None)

    def fail(*arguments):
        raise RuntimeError("the peer's compiler died")

    monkeypatch.setattr(gpu, "Transformers", fail)
    assert exit_status(gpu) == 0, "one contestant of three"
    content = json.loads(out.read_text())
    assert content["skipped"]["toy BERT-small, transformers"] == "RuntimeError: the peer's compiler died"
    assert {trial["who"] for trial in content["trials"]} == {"bertsmith", "bertsmith, no dropout"}

    late = tmp_path / "late.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--out", str(late), "--seconds", "-1"])
    assert exit_status(gpu) == 1
    assert all("out of time" in reason for reason in json.loads(late.read_text())["skipped"].values())
    assert not json.loads(late.read_text())["trials"]


def toy_glue(folder: Path) -> None:
    """CoLA and STS-B in their layouts, of a few lines."""
    rng = np.random.default_rng(0)
    for split, size in (("train", 12), ("dev", 8)):
        for task in ("CoLA", "STS-B"):
            (folder / task).mkdir(parents=True, exist_ok=True)
        texts = [" ".join(rng.choice(WORDS, 4)) for _ in range(size)]
        cola = [f"s\t{number % 2}\t\t{text}" for number, text in enumerate(texts)]
        (folder / "CoLA" / f"{split}.tsv").write_text("\n".join(cola) + "\n")
        names = "index genre filename year old_index source1 source2 sentence1 sentence2 score".split()  # noqa: SIM905
        pairs = [f"{number}\tg\tf\ty\to\ts\ts\t{text}\t{texts[0]}\t{number % 5}" for number, text in enumerate(texts)]
        (folder / "STS-B" / f"{split}.tsv").write_text("\n".join(["\t".join(names), *pairs]) + "\n")


@pytest.mark.slow
def test_going_on_from_a_model_is_run_collected_and_judged(tmp_path, monkeypatch, capsys):
    from benchmarks import continuing
    from benchmarks.trials import Trials
    from bertsmith.cli.app import app

    model, shared, calls = make_model(tmp_path), tmp_path / "shared", []
    (shared / "corpora").mkdir(parents=True)
    texts = [path.read_text() for path in sorted(write_corpus(tmp_path, documents=40).iterdir())]
    books = "".join(json.dumps({"text": text}) + "\n" for text in ["x" * continuing.LARGEST_BOOK, *texts])
    (shared / "corpora" / "books.jsonl.zst").write_bytes(zstandard.compress(books.encode()))
    toy_glue(shared / "glue")

    def in_this_process(*arguments) -> None:
        calls.append(arguments[0])
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output

    sizes = ("hidden_size=32", "num_hidden_layers=1", "num_attention_heads=2", "max_position_embeddings=64")
    runs = continuing.RUNS | {"as before": ("bert-base", *(f"model.{size}" for size in sizes))}
    monkeypatch.setattr(continuing, "RUNS", runs)
    monkeypatch.setattr(continuing, "_bertsmith", in_this_process)
    work = tmp_path / "work"
    continuing.run_all(work, model, shared, continuing.TOY)
    assert calls == ["prepare", *["pretrain"] * 3, *["finetune"] * 4]
    assert len((work / "books.jsonl").read_text().splitlines()) == 20
    continuing.collect(work, model, shared, Trials(tmp_path / "continuing.json"))
    content = json.loads((tmp_path / "continuing.json").read_text())
    assert [line["step"] for line in content["runs"]["continue"]["held out"]] == [0, 30, 60]
    assert any("made for random weights" in text for text in content["runs"]["as before"]["warnings"])
    assert not any("made for random weights" in text for text in content["runs"]["continue"]["warnings"])
    assert set(content["cosine of unrelated sentences"]) == {"MiniLM", *continuing.RUNS}
    assert {len(content["results"][task][side]) for task in ("cola", "sts-b") for side in ("before", "after")} == {2}
    assert "cosine of unrelated sentences, continue" in capsys.readouterr().out


@pytest.mark.slow
def test_objectives_are_compared_at_equal_flops_and_finished_arms_are_kept(tmp_path, monkeypatch, capsys):
    from benchmarks import race, rtd_curve
    from bertsmith.cli.app import app
    from bertsmith.config.loading import load
    from bertsmith.planning.estimate import estimate
    from bertsmith.training.recipe import PretrainRecipe

    calls = []

    def in_this_process(*arguments) -> float:
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        calls.append(Path(arguments[-1]).name)
        return 1.0

    class OneByOne(contextlib.nullcontext):
        """In place of threads: a command minds signals, which only the main thread may."""

        def __init__(self, jobs):
            super().__init__(self)

        def submit(self, measure) -> Future:
            future = Future()
            future.set_result(measure())
            return future

    shape = ("model.hidden_size=16", "model.num_hidden_layers=2", "model.num_attention_heads=1")
    base = ("fast-tiny", "log=[]", "evaluate_rows=8", "batch_size=4", *shape)
    toy = rtd_curve.Sizes(200, 40, 20, base, ("seeds=2", "epochs=1"), budget=8e7, evaluations=2)
    questions = {
        "curve": rtd_curve.QUESTIONS["curve"],
        "first try": {"base": rtd_curve.QUESTIONS["first try"]["base"]},
    }
    blimp = tmp_path / "blimp"
    blimp.mkdir()
    pair = {"sentence_good": "the ta", "sentence_bad": "ta the", "UID": "order", "linguistics_term": "syntax"}
    (blimp / "order.jsonl").write_text(json.dumps(pair) + "\n")
    monkeypatch.setattr("bertsmith.text.docstrings.documents", toy_texts)
    for module in (race, rtd_curve):
        monkeypatch.setattr(module, "bertsmith", in_this_process)
    monkeypatch.setattr("benchmarks.trials.ThreadPoolExecutor", OneByOne)
    monkeypatch.setattr(rtd_curve, "Sizes", lambda: toy)
    monkeypatch.setattr(rtd_curve, "QUESTIONS", questions)
    out, runs = tmp_path / "rtd.json", tmp_path / "runs"
    command = ["rtd_curve", f"runs={runs}", "--budgets", "8e7", "--blimp", str(blimp), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    rtd_curve.main()
    trials = {(trial["what"], trial["who"]): trial for trial in json.loads(out.read_text())["trials"]}
    assert set(trials) == {("curve, 8e+07", who) for who in ("MLM", "RTD", "MLM, then RTD")} | {
        ("first try, 8e+07", "base")
    }
    spent = {}
    for folder in (path for path in runs.iterdir() if (path / "recipe.toml").exists() and "order" not in path.name):
        recipe = load(PretrainRecipe, "pretrain", str(folder / "recipe.toml")).settings
        tokens = rtd_curve.last(folder)["tokens"]
        assert recipe.plan.tokens <= tokens < recipe.plan.tokens + 4 * 64
        spent[folder.name] = recipe.plan.tokens * estimate(str(folder / "recipe.toml")).flops_per_token
        assert [line["step"] for line in rtd_curve.held_out(folder)][-1] >= 2
    whole, begun = ("curve--8e-07--MLM", "curve--8e-07--RTD"), "curve--8e-07--MLM--then-RTD"
    assert all(spent[name] == pytest.approx(8e7, rel=1e-3) for name in whole)
    assert spent[begun] + spent[f"{begun}-first"] == pytest.approx(8e7, rel=1e-3)
    second = load(PretrainRecipe, "pretrain", str(runs / begun / "recipe.toml")).settings
    assert second.init == str(runs / f"{begun}-first") and second.objective.kind == "rtd"
    for (_, who), trial in trials.items():
        assert ("rtd_auc" in trial) == (who != "MLM") and ("pinned_loss" in trial) == (who == "MLM")
        assert len(trial["word_order_of_seeds"]) == 2 and trial["blimp"] in (0.0, 0.5, 1.0)
    hot = load(PretrainRecipe, "pretrain", str(runs / "first-try--8e-07--base" / "recipe.toml")).settings
    assert (hot.optimizer.bias_correction, hot.optimizer.beta2, hot.objective.masking.prob) == (False, 0.999, 0.15)
    calls.clear()
    rtd_curve.main()
    assert not calls, "finished arms are kept"
    assert "MLM, then RTD" in capsys.readouterr().out


@pytest.mark.parametrize("question", ["first try", "repaired"])
def test_arms_of_a_question_differ_and_are_recipes(question, tmp_path):
    from benchmarks import rtd_curve
    from bertsmith.config.loading import identity, load
    from bertsmith.training.recipe import PretrainRecipe

    sizes, seen = rtd_curve.Sizes(), {}
    for name, arm in rtd_curve.QUESTIONS[question].items():
        settings = [*sizes.base[1:], *arm.settings, f"data={tmp_path}"]
        recipe = load(PretrainRecipe, "pretrain", "fast-tiny", settings).settings
        seen[name] = (json.dumps(identity(recipe), sort_keys=True), arm.first)
    assert len(set(seen.values())) == len(seen)
    assert seen["base"][1] is None


@pytest.mark.parametrize(
    ("before", "after", "reached"),
    [
        ([0.80, 0.81, 0.82], [0.80, 0.81, 0.82], True),
        ([0.80, 0.81, 0.82], [0.79, 0.80, 0.81], True),
        ([0.80, 0.81, 0.82], [0.77, 0.78, 0.79], False),
        ([0.80, 0.81, 0.82], [0.90, 0.91, 0.92], True),
    ],
)
def test_after_may_be_below_before_by_the_noise_of_seeds(before, after, reached):
    from benchmarks.continuing import _judge

    judged = _judge("cola", before, after)
    assert judged["reached"] == reached
    assert judged["margin"] == pytest.approx(2 * 0.01 * (2 / 3) ** 0.5)


def toy_words() -> Iterator[tuple[str, str]]:
    rng = np.random.default_rng(0)
    return (("toy", " ".join(rng.choice(WORDS, 60))) for _ in range(200))


@pytest.mark.slow
def test_arms_and_peers_are_raced_each_with_its_minutes_and_kept(tmp_path, monkeypatch, capsys):
    from benchmarks import race
    from benchmarks.race_rungs import BASE, Arm, Rung

    base = (
        "fast-tiny", "model.hidden_size=64", "model.num_hidden_layers=1", "plan.tokens=4000", "plan.evaluate_steps=2",
        "evaluate_rows=8",
    )  # fmt: skip
    peer = Arm(("--network=modernbert", "--batch-size=16"), peer=True, minutes=0.01, speed="modernbert")
    toy = Rung(
        base, folder="T", vocabulary=200, texts=toy_words, peer=("--hidden-size=64", "--layers=1"),
        speeds={"own": Arm(), "modernbert": peer._replace(minutes=None)},
        questions={"noise": {BASE: Arm(seeds=(0, 1))}, "budget": {"short": Arm(minutes=0.002), "modernbert": peer}},
    )  # fmt: skip
    monkeypatch.setattr(race, "RUNGS", {"T": toy})
    monkeypatch.setattr(race, "TIMED_TOKENS", (2_000, 60_000))
    monkeypatch.setattr(sys, "argv", ["race", "T", f"runs={tmp_path}", "--out", str(tmp_path / "race.json")])
    race.main()
    trials = json.loads((tmp_path / "race.json").read_text())["trials"]
    by_arm = {(trial["what"], trial["who"], trial["number"]): trial for trial in trials}
    assert len(by_arm) == len(trials) == 3 + 3 + 2 + 2  # two speeds three times, two seeds, two arms
    speeds = {who: [t["tokens_per_second"] for t in trials if t["who"] == who and "tokens_per_second" in t]
              for who in toy.speeds}  # fmt: skip
    for who, name, minutes in (("own", "short", 0.002), ("modernbert", "modernbert", 0.01)):
        wanted = sorted(speeds[who])[1] * 60 * minutes
        assert abs(by_arm["T, budget", name, 0]["tokens"] - wanted) <= 500 + 16 * 64  # rounded, and whole steps
    for trial in trials:
        if "pinned_loss" in trial:
            assert trial["curve"][-1][:2] == [trial["steps"], trial["tokens"]]
            assert trial["curve"][-1][2] == pytest.approx(trial["pinned_loss"], abs=1e-4)
            assert 3 < trial["pinned_loss"] < 6  # of 200 words
    assert by_arm["T, noise", BASE, 0]["pinned_loss"] != by_arm["T, noise", BASE, 1]["pinned_loss"]
    assert "(2 seeds)" in capsys.readouterr().out
    race.main()  # nothing is done again
    assert json.loads((tmp_path / "race.json").read_text())["trials"] == trials
