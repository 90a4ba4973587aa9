"""Early stopping: what is held out, when training stops, which weights are kept, and that dev has no say."""

import json
import os
import re
import signal

import numpy as np
import pytest
import torch

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import Interrupted, UserError
from bertsmith.tasks.dataset import Outcome, score_sets
from bertsmith.tasks.early_stopping import EarlyStopping, split_held_out
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.trials import schedule as program
from bertsmith.training.machine import choose_machine
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tasks.words.toy_tagging import write_tagging

HARMFUL = ("schedule.learning_rate=0.3", "schedule.warmup_proportion=0.9")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return make_model(folder), write_task(folder)


def trial_of(run, seed=0):
    folder = run / f"trials/seed-{seed}"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return json.loads((folder / "results.json").read_text()), [line for line in lines if line["split"] == "heldout"]


def test_the_same_examples_are_held_out_each_time_and_every_example_is_on_one_side():
    kept, held_out = split_held_out(100, 0.1)
    assert len(held_out) == 10 and sorted([*kept, *held_out]) == list(range(100))
    for again, side in zip(split_held_out(100, 0.1), (kept, held_out), strict=True):
        assert again.tolist() == side.tolist()
    assert held_out.tolist() != list(range(90, 100)), "drawn, since files are often sorted"


@pytest.mark.parametrize(("num_examples", "share"), [(4, 0.1), (4, 0.95)])
def test_a_share_of_none_or_all_is_refused(num_examples, share):
    with pytest.raises(UserError, match=rf"early_stopping.share = {share}: of 4 training examples that holds out \d"):
        split_held_out(num_examples, share)


def test_a_share_of_none_is_refused_before_there_is_a_folder(toy, tmp_path):
    with pytest.raises(UserError, match=r"early_stopping.share = 0.001: of 200 training examples"):
        finetune(toy_recipe(*toy, "early_stopping.share=0.001"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Scripted:
    """A split whose scores are given."""

    def __init__(self, scores):
        self.scores = iter(scores)

    def score(self, *arguments):
        return Outcome({"accuracy": next(self.scores)}, False)


def test_the_earliest_best_weights_are_kept_and_patience_counts_looks_in_a_row():
    module = torch.nn.Linear(1, 1, bias=False)
    sets = {("", ""): Scripted([0.5, 0.5, 0.7, 0.6, 0.7])}
    watch = EarlyStopping(sets, "accuracy", None, patience=2)
    enough = []
    for step in range(1, 6):
        torch.nn.init.constant_(module.weight, step)
        watch.evaluate(module, step)
        enough.append(watch.should_stop)
    assert enough == [False, False, False, False, True]
    watch.restore(module)
    assert module.weight.item() == 3
    assert watch.to_json() == {"metric": "accuracy", "score": 0.7, "step": 3}


def test_asked_to_stop_in_its_last_step_a_trial_does_not_go_on(toy, tmp_path, monkeypatch):
    def evaluate(self, objective, step) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {self.metric: 0.0}

    monkeypatch.setattr(EarlyStopping, "evaluate", evaluate)
    with pytest.raises(Interrupted):
        finetune(toy_recipe(*toy, "early_stopping.share=0.2", "epochs=1"), tmp_path / "run")
    assert not list((tmp_path / "run" / "trials").glob("seed-*"))


def test_it_stops_and_what_is_scored_and_kept_is_what_did_best(toy, tmp_path):
    overrides = ["early_stopping.share=0.2", "early_stopping.every=0.25", "early_stopping.patience=2", "epochs=50"]
    finetune(toy_recipe(*toy, *overrides, "seeds=1"), tmp_path / "run")
    results, looks = trial_of(tmp_path / "run")
    stopping = results["early_stopping"]
    assert stopping["held_out"] == 40 and stopping["metric"] == "accuracy"
    assert results["steps"] < 50 * 20, "stopped before the plan's end"
    assert [look["step"] for look in looks] == list(range(5, results["steps"] + 1, 5))
    best = max(looks, key=lambda look: look["accuracy"])
    assert (best["step"], best["accuracy"]) == (stopping["step"], stopping["score"])
    assert len(looks) == looks.index(best) + 1 + 2
    task, start = load_task(toy_recipe(*toy, *overrides).settings), open_pretrained_encoder(toy[0])
    kept = task.objective(start, Encoder(start.settings, start.vocab_size))
    kept.load_state_dict(load_trial(tmp_path / "run").network.weights)
    machine = choose_machine(toy_recipe(*toy).settings.machine)
    splits = task.encode(start)
    assert score_sets(kept, splits.held_out, machine).metrics["accuracy"] == stopping["score"]
    assert score_sets(kept, splits.dev, machine).metrics == results["metrics"]


def test_later_steps_that_harm_do_no_harm(toy, tmp_path):
    """The rate rises until every step undoes what was learnt when it was small."""
    stopping = ["early_stopping.share=0.2", "early_stopping.every=0.1", "early_stopping.patience=1000"]
    recipe = toy_recipe(*toy, *HARMFUL, *stopping, "seeds=1", "epochs=10")
    finetune(recipe, tmp_path / "run")
    results, looks = trial_of(tmp_path / "run")
    assert results["steps"] == 200 == looks[-1]["step"], "patience was not at its end"
    assert results["early_stopping"]["score"] == max(look["accuracy"] for look in looks) > 0.8
    assert looks[-1]["accuracy"] < 0.7 < results["metrics"]["accuracy"]


def test_dev_has_no_say(toy, tmp_path):
    """With other labels in dev the same weights are kept."""
    model, data = toy
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.tsv").write_text((data / "train.tsv").read_text())
    swapped = (data / "dev.tsv").read_text().replace("\twithout", "\t?").replace("\twith", "\twithout")
    (other / "dev.tsv").write_text(swapped.replace("\t?", "\twith"))
    overrides = ["early_stopping.share=0.2", "early_stopping.patience=1", "seeds=1"]
    found = []
    for folder in (data, other):
        finetune(toy_recipe(model, folder, *overrides), tmp_path / f"run-{folder.name}")
        found.append((tmp_path / f"run-{folder.name}/trials/seed-0/model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_all_seeds_hold_out_the_same_and_it_is_said(toy, tmp_path, monkeypatch, capsys):
    seen = []
    real = program.run_trial

    def watch(context, seed, folder):
        seen.append(context.datasets.held_out["", ""].rows.ids.tolist())
        return real(context, seed, folder)

    monkeypatch.setattr(program, "run_trial", watch)
    overrides = ["early_stopping.share=0.1", "epochs=0.1"]
    finetune(toy_recipe(*toy, *overrides, "seeds=1"), tmp_path / "run")
    assert re.search(r"^step 3: accuracy 0\.\d{4} on held-out examples$", capsys.readouterr().err, re.MULTILINE)
    finetune(toy_recipe(*toy, *overrides, "seeds=2"), tmp_path / "run")
    assert len(seen) == 2 and seen[0] == seen[1]
    said = capsys.readouterr().err
    assert "20 of 200 training examples are held out for early stopping" in said
    assert "seed 1: the weights of step 3 of 3 are kept, accuracy " in said


def test_pairs_are_doubled_after_the_split(tmp_path):
    """No held-out pair is trained on the other way round."""
    model, data = make_model(tmp_path), write_glue(tmp_path / "glue", "mrpc")
    recipe = toy_recipe(model, data, "task=mrpc", "check_counts=false", "early_stopping.share=0.25").settings
    task = load_task(recipe)
    splits = task.encode(open_pretrained_encoder(model))
    num_examples = task.num_examples["train"]
    assert splits.num_held_out == len(splits.held_out["", ""].lengths) == round(num_examples / 4)
    assert len(splits.train.lengths) == 2 * (num_examples - splits.num_held_out)


def test_sentences_are_held_out_too(tmp_path):
    model, data = make_model(tmp_path), write_tagging(tmp_path)
    recipe = toy_recipe(
        model, data, "custom.kind=tagging", "seeds=1", "epochs=4", "early_stopping.share=0.1", "early_stopping.every=2"
    )
    finetune(recipe, tmp_path / "run")
    results, looks = trial_of(tmp_path / "run")
    assert results["early_stopping"]["held_out"] == 20 and results["early_stopping"]["metric"] == "f1"
    assert [look["step"] for look in looks] == [46, 92] and {"f1", "precision"} <= looks[0].keys()
    splits = load_task(recipe.settings).encode(open_pretrained_encoder(model))
    held_out = splits.held_out["", ""]
    both = [sentence for split in (splits.train, held_out) for sentence in split.sentences.texts()]
    assert sorted(both) == sorted(load_task(recipe.settings).data.train.texts())
    assert np.array_equal(held_out.answers.shape, held_out.batch(np.arange(20)).targets["answers"].shape)
