"""GLUE read quickly in the middle of a pre-training: when, what is logged and shown, and that nothing else changes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from bertsmith.console.shell import quote
from bertsmith.errors import Interrupted, UserError
from bertsmith.reports.charts import curve_charts
from bertsmith.reports.facts import facts
from bertsmith.reports.runs import read_runs
from bertsmith.tasks import quick_glue, trial
from bertsmith.tasks.quick_glue import Reading, glue_probes
from bertsmith.training import checkpoints, loop
from bertsmith.training.loop import Event, State
from bertsmith.training.metrics import read_metrics, with_deviations
from bertsmith.training.pretrain import pretrain
from bertsmith.training.train_logger import PeriodicProbe
from tests.tasks.texts.toy_glue import write_glue
from tests.toys import tiny_recipe

DROPOUT = ("model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1")


@pytest.fixture
def few(monkeypatch):
    """Readings of 20 examples and two seeds."""
    settings = [text for text in quick_glue.QUICK_SETTINGS if not text.startswith(("train_examples=", "seeds="))]
    monkeypatch.setattr(quick_glue, "QUICK_SETTINGS", (*settings, "train_examples=20", "seeds=2", "check_counts=false"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_glue(tmp_path_factory.mktemp("glue"), "rte", "sts-b")


def recipe_of(data: Path, folder: Path, *more: str):
    return tiny_recipe(data, *DROPOUT, f"glue={folder}", *more)


def newest(run: Path) -> checkpoints.Checkpoint:
    found = checkpoints.load_newest(run)
    assert found is not None
    return found


def same_bits(run: Path, other: Path) -> bool:
    one, two = newest(run), newest(other)
    return all(
        left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
        for left, right in ((one.model, two.model), (one.optimizer, two.optimizer))
    )


def measured(run: Path) -> dict[int, dict]:
    lines = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"]
    return {line["step"]: {name: line[name] for name in line if name.startswith("glue_")} for line in lines}


def test_readings_change_no_bit_of_the_run(data, folder, few, tmp_path):
    plain = tiny_recipe(data, *DROPOUT, "plan.evaluate_steps=3")
    pretrain(plain, tmp_path / "plain")
    asked = recipe_of(data, folder, "plan.evaluate_steps=3", "glue_steps=5")
    done = pretrain(asked, tmp_path / "asked", probes=glue_probes(asked))
    assert same_bits(tmp_path / "plain", tmp_path / "asked")
    train = [
        [(line["step"], line["mlm_loss"], line["gradient_norm"]) for line in read_metrics(run / "metrics.jsonl")
         if line["split"] == "train"]
        for run in (tmp_path / "plain", tmp_path / "asked")
    ]  # fmt: skip
    assert train[0] == train[1]
    names = {f"glue_{task}{ending}" for task in ("rte", "stsb", "mean") for ending in ("", "_std")}
    found = measured(tmp_path / "asked")
    assert {step: set(line) for step, line in found.items()} == {3: set(), 6: names, 9: set(), 12: names}
    last = found[12]
    assert last["glue_mean"] == pytest.approx((last["glue_rte"] + last["glue_stsb"]) / 2)
    assert last["glue_mean_std"] == pytest.approx((last["glue_rte_std"] ** 2 + last["glue_stsb_std"] ** 2) ** 0.5 / 2)
    assert done["measures"].items() >= last.items()
    [run] = read_runs([tmp_path / "asked"])
    titles = {chart.title: chart for chart in curve_charts([run], single=True)}
    chart = titles["Quick GLUE: STS-B, Spearman correlation"]
    assert not any("std" in title for title in titles)
    [trace] = chart.figure["data"]
    assert trace["x"] == [6, 12] and trace["error_y"]["array"] == [found[6]["glue_stsb_std"], last["glue_stsb_std"]]
    shown = facts(run)["Held-out measures"]
    assert f"quick GLUE: RTE, accuracy: {last['glue_rte']:.4g} ± {last['glue_rte_std']:.4g}" in shown
    assert "_std" not in shown


def test_a_reading_is_of_the_weights_of_that_step(data, folder, few, tmp_path):
    """At the end it is what `evaluate` reads of the finished run."""
    from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder

    asked = recipe_of(data, folder, "glue_tasks=['rte']", "machine.device=cpu")
    done = pretrain(asked, tmp_path, probes=glue_probes(asked))["measures"]
    encoder = open_pretrained_encoder(tmp_path)
    again = quick_glue.quick_glue(encoder, folder, asked.machine, asked.rows.length, ["rte"])
    assert again == {"rte": Reading("accuracy", done["glue_rte"], done["glue_rte_std"], 2)}


def test_a_discriminator_is_read(data, folder, few, tmp_path):
    asked = recipe_of(data, folder, "objective.kind=rtd", "glue_tasks=['rte']", "plan.steps=2")
    assert {"glue_rte", "glue_rte_std"} <= pretrain(asked, tmp_path, probes=glue_probes(asked))["measures"].keys()


def test_its_time_is_not_the_runs(data, folder, tmp_path, monkeypatch):
    now = [0.0]

    def read(*_):
        now[0] += 1000
        return {"rte": Reading("accuracy", 0.5, 0.1, 3)}

    def tick() -> float:
        now[0] += 1
        return now[0]

    monkeypatch.setattr(quick_glue, "quick_glue", read)
    monkeypatch.setattr(loop.time, "perf_counter", tick)
    asked = recipe_of(data, folder, "glue_steps=4", "plan.evaluate_steps=2")
    monkeypatch.setattr(quick_glue, "load_task", lambda recipe: None)
    assert pretrain(asked, tmp_path, probes=glue_probes(asked))["seconds"] == 12, "a tick a step"
    assert now[0] > 3000


def stopped_in_the_first_reading(monkeypatch, during_a_step: bool):
    """Send SIGTERM in the first reading, between its trainings' steps or during one."""
    sent = []

    def send(*_) -> None:
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    if during_a_step:
        fit = trial.fit
        monkeypatch.setattr(
            trial, "fit", lambda runner, batches, context, events, state: fit(
                runner, batches, context, [Event(1, send), *events], state
            )
        )  # fmt: skip
    else:
        score = trial.score_sets

        def score_sets(*arguments):
            send()
            time.sleep(0)  # a signal's handler runs between two instructions
            return score(*arguments)

        monkeypatch.setattr(trial, "score_sets", score_sets)
    return sent


@pytest.mark.parametrize("during_a_step", [False, True])
def test_a_signal_during_a_reading_ends_the_run_with_a_checkpoint(
    data, folder, few, tmp_path, monkeypatch, capsys, during_a_step
):
    asked = recipe_of(data, folder, "glue_steps=6")
    pretrain(tiny_recipe(data, *DROPOUT), tmp_path / "plain")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        sent = stopped_in_the_first_reading(patch, during_a_step)
        with pytest.raises(Interrupted) as stopped:
            pretrain(asked, tmp_path / "run", probes=glue_probes(asked))
    assert sent and stopped.value.number == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == before
    assert newest(tmp_path / "run").state.step == 7 and measured(tmp_path / "run") == {6: {}}
    stderr = capsys.readouterr().err
    assert "the quick reading of GLUE was stopped" in stderr
    assert f"`bertsmith evaluate RUN glue={quote(str(folder))}`" in stderr
    pretrain(asked, tmp_path / "run", probes=glue_probes(asked))
    assert same_bits(tmp_path / "plain", tmp_path / "run") and measured(tmp_path / "run")[12]


def test_a_run_that_is_stopping_begins_no_reading(data, folder, few, tmp_path, monkeypatch, capsys):
    """The signal comes after step 5, which ends with it; the reading is due after step 6, the last then."""
    monkeypatch.setattr(quick_glue, "quick_glue", lambda *_: pytest.fail("began"))
    asked, calls = recipe_of(data, folder, "glue_steps=6", "plan.evaluate_steps=1"), []

    def ask(objective, show) -> dict[str, float]:
        calls.append(True)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(Interrupted):
        pretrain(asked, tmp_path, probes=[ask, *glue_probes(asked)])
    assert newest(tmp_path).state.step == 6 and len(calls) == 6
    warnings = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "warning"]
    [said] = [line["text"] for line in warnings if line["step"] == 6]
    assert said == (
        "the quick reading of GLUE that is due is left out, since the run stops; "
        f"`bertsmith evaluate RUN glue={quote(str(folder))}` makes it, of the newest checkpoint"
    )
    assert f"warning: {said}" in capsys.readouterr().err.splitlines()


def test_a_reading_that_fails_is_left_out(data, folder, few, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise UserError("the gradients of steps 1 to 5 were not finite")

    monkeypatch.setattr(quick_glue, "run_trials", fail)
    asked = recipe_of(data, folder)
    assert pretrain(asked, tmp_path, probes=glue_probes(asked))["steps"] == 12
    assert "warning: the quick reading of GLUE failed: the gradients" in capsys.readouterr().err


def test_when_a_reading_is_due(data):
    plan = tiny_recipe(data, "plan.steps=100", "plan.evaluate_steps=10").plan

    def steps(every: int) -> list[int]:
        probe = PeriodicProbe(every, lambda objective, show: {})
        return [step for step in range(0, 101, 10) if probe.is_due(State(step=step), plan)]

    assert steps(0) == [100]
    assert steps(30) == [30, 60, 90, 100] and steps(25) == [30, 50, 80, 100]
    assert steps(3) == list(range(10, 101, 10)) and steps(1000) == [100]


def test_what_cannot_be_read_is_refused_before_training(data, folder, few, tmp_path, run_main):
    assert glue_probes(tiny_recipe(data)) == []
    for key, value in (("glue_steps", "5"), ("glue_tasks", "['rte']")):
        with pytest.raises(UserError, match=rf"^{key} = .*: without glue nothing is read; add glue=DIR, or leave"):
            tiny_recipe(data, f"{key}={value}")
    assert tiny_recipe(data, "glue_steps=0", "glue_tasks=[]").glue is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: none of cola, sst-2, mrpc, sts-b, rte in it"):
        glue_probes(recipe_of(data, tmp_path / "empty"))
    broken = write_glue(tmp_path / "broken", "rte")
    path = broken / "RTE/dev.tsv"
    path.write_text(path.read_text().replace("entailment", "perhaps"))
    with pytest.raises(UserError, match=r"dev.tsv, line 2"):
        glue_probes(recipe_of(data, broken))
    status, _, stderr = run_main(
        "pretrain", "bert-tiny", f"data={data}", f"glue={folder}", "glue_tasks=['wnli']", "--out", tmp_path / "run"
    )
    assert status == 2 and "glue_tasks" in stderr and "wnli" in stderr and not (tmp_path / "run").exists()
    status, _, stderr = run_main(
        "pretrain", "bert-tiny", f"data={data}", f"glue={tmp_path / 'empty'}", "--out", tmp_path / "run"
    )
    assert status == 2 and "none of cola" in stderr and not (tmp_path / "run").exists()


def test_the_command_line_and_python_read_it(data, folder, few, tmp_path, monkeypatch):
    import bertsmith

    monkeypatch.setattr(quick_glue, "quick_glue", lambda *_: {"rte": Reading("accuracy", 0.5, 0.1, 3)})
    recipe = recipe_of(data, folder, "plan.steps=2")
    assert bertsmith.pretrain(recipe, tmp_path / "run")["measures"]["glue_rte"] == 0.5
    assert json.loads((tmp_path / "run/manifest.json").read_text())["measures"]["glue_rte_std"] == 0.1


def test_measures_for_people():
    measures = {"glue_rte": 0.51234, "glue_rte_std": 0.0123, "loss": float("nan"), "own_std": 2.0, "text": "x"}
    assert with_deviations(measures) == {"glue_rte": "0.5123 ± 0.0123", "loss": "–", "own_std": "2"}
