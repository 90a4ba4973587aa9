"""The GPU benchmark runs on the CPU at toy size, where torch and transformers are all that is installed."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.test_imports import PACKAGE, with_requirements

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


def test_what_fails_or_comes_too_late_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    from benchmarks import gpu

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--out", str(out)])
    monkeypatch.setattr(gpu.Benchmark, "check", lambda self: None)
    monkeypatch.setattr(gpu, "CASES", {"BERT-small": gpu.CASES["BERT-small"], "BERT-base": gpu.CASES["BERT-base"]})
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
