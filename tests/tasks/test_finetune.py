"""Journeys: a toy model and a toy task in, scores out; again; more seeds; another recipe; what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import bertsmith
from bertsmith.config.loading import load
from bertsmith.convert.export import export_run
from bertsmith.encoders.modernbert import ModernBertConfig
from bertsmith.errors import Interrupted, UserError
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.tasks.finetune import finetune, score_table
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.trials import schedule as program
from bertsmith.training.pretrain import pretrain
from tests.tasks.texts.toy_glue import write_glue, write_split
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.toys import WORDS, make_data, tiny_recipe


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Products this small do not gain from a second thread, and on a busy machine each waits for the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("toy")
    return make_model(folder), write_task(folder)


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    finetune(toy_recipe(*toy), out)
    return out


def never(*_):
    raise AssertionError("a finished trial was run again")


def test_results(run):
    results = json.loads((run / "results.json").read_text())
    assert results["task"] == "custom"
    assert [trial["seed"] for trial in results["trials"]] == [0, 1]
    assert list(results["summary"]) == ["accuracy", "f1", "mcc"]
    for metric, summary in results["summary"].items():
        scores = [trial["metrics"][metric] for trial in results["trials"]]
        assert min(scores) > 0.9, metric
        mean, deviation = sum(scores) / 2, abs(scores[0] - scores[1]) / 2**0.5
        assert summary == pytest.approx({"median": mean, "mean": mean, "std": deviation})
    lines = (run / "trials/seed-1/predictions-dev.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction\tlabel"
    assert [line.split("\t")[::2] for line in lines[1:3]] == [["0", "without"], ["1", "with"]]
    assert len(lines) == 61
    losses = [json.loads(line)["loss"] for line in (run / "trials/seed-0/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.3


def test_again_finds_itself_done_and_adds_seeds(toy, run, monkeypatch):
    trained = []
    real = program.run_trial
    monkeypatch.setattr(program, "run_trial", never)
    before = (run / "results.json").read_text()
    finetune(toy_recipe(*toy), run)
    finetune(toy_recipe(*toy, "seeds=1"), run)
    assert (run / "results.json").read_text() == before
    monkeypatch.setattr(
        program, "run_trial", lambda context, seed, folder: trained.append(seed) or real(context, seed, folder)
    )
    results = finetune(toy_recipe(*toy, "seeds=3"), run)
    assert trained == [2]
    assert [trial["seed"] for trial in results["trials"]] == [0, 1, 2]
    shown = "\n".join(score_table(results))
    for word in ("accuracy", "mcc", "seed 2", "median", "mean", "std", "1.0000"):
        assert word in shown


def test_a_run_from_before_there_was_a_setting_goes_on_with_its_default(toy, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    for key in ("class_weights", "early_stopping.share"):
        del manifest["identity"][key]
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"another run \(class_weights: 'none' → 'balanced'\)"):
        finetune(toy_recipe(*toy, "class_weights=balanced"), tmp_path / "run")
    finetune(toy_recipe(*toy), tmp_path / "run")


def test_killed_before_anything_but_the_manifest_was_written_it_goes_on(toy, tmp_path, monkeypatch):
    def killed(*_):
        raise Interrupted(9)

    monkeypatch.setattr("bertsmith.tasks.trials.run.write_text", killed)
    with pytest.raises(Interrupted):
        finetune(toy_recipe(*toy, "seeds=1", "epochs=0.1"), tmp_path / "run")
    monkeypatch.undo()
    assert finetune(toy_recipe(*toy, "seeds=1", "epochs=0.1"), tmp_path / "run")["trials"]


def test_a_run_without_a_finished_trial_says_so(run, tmp_path):
    (shutil.copytree(run, tmp_path / "run") / "results.json").unlink()
    with pytest.raises(UserError, match="no trial is finished yet; run `bertsmith finetune` again, which goes on"):
        load_trial(tmp_path / "run")


def test_another_recipe_model_or_data_is_refused(toy, run, tmp_path):
    model, data = toy
    with pytest.raises(UserError, match=r"another run \(schedule.learning_rate: 0.003 → 0.02\)"):
        finetune(toy_recipe(model, data, "schedule.learning_rate=2e-2"), run)
    with pytest.raises(UserError, match=r"another run \(model: another one\)"):
        finetune(toy_recipe(make_model(tmp_path, intermediate_size=64), data), run)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (moved / name).write_text((data / name).read_text())
    finetune(toy_recipe(model, moved), run)  # only moved
    with open(moved / "dev.tsv", "a") as file:
        file.write("one more\twith\n")
    with pytest.raises(UserError, match=r"another run \(data: another one\)"):
        finetune(toy_recipe(model, moved), run)


def test_the_same_seed_gives_the_same_weights_also_after_a_stop(toy, run, tmp_path, monkeypatch):
    def stopped(*_):
        raise Interrupted(15)

    real = program.run_trial
    with monkeypatch.context() as patch:
        patch.setattr("bertsmith.tasks.texts.text_task.predict_scores", stopped)
        with pytest.raises(Interrupted):
            finetune(toy_recipe(*toy, "seeds=1"), tmp_path)
    assert not list((tmp_path / "trials").iterdir())
    (tmp_path / "trials/seed-0.bertsmith-partial").mkdir()  # as a killed one leaves it
    monkeypatch.setattr(program, "run_trial", real)
    finetune(toy_recipe(*toy, "seeds=1"), tmp_path)
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["seed-0"]
    weights = [folder / "trials/seed-0/model.safetensors" for folder in (tmp_path, run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not torch.equal(*(load_trial(run, seed).network.weights["head.output.weight"] for seed in (0, 1)))


def test_overwrite_starts_afresh(toy, tmp_path):
    finetune(toy_recipe(*toy, "seeds=1", "epochs=1"), tmp_path)
    results = finetune(toy_recipe(*toy, "seeds=1", "epochs=0.5"), tmp_path, overwrite=True)
    assert len(results["trials"]) == 1
    assert json.loads((tmp_path / "trials/seed-0/results.json").read_text())["steps"] == 13


def test_regression_of_pairs_with_a_projection(tmp_path):
    model = make_model(tmp_path, embedding_size=16)
    data = write_task(tmp_path, pairs=True, numbers=True)
    recipe = toy_recipe(model, data, "seeds=1", "custom.kind=regression", "custom.second_text=second")
    results = finetune(recipe, tmp_path / "run")
    assert results["summary"]["pearson"]["median"] > 0.95
    assert results["summary"]["pearson"].keys() == {"median", "mean", "std"}
    lines = (tmp_path / "run/trials/seed-0/predictions-dev.tsv").read_text().splitlines()[1:]
    predicted = [float(line.split("\t")[1]) for line in lines]
    assert 1.2 < min(predicted) < max(predicted) < 2.8, "in the units of the file, 1.5 and 2.5"
    trial = load_trial(tmp_path / "run")
    assert trial.network.labels == () and trial.seed == 0


@pytest.mark.parametrize(("low", "width"), [(1.7e9, 0.5), (0.0, 2e-7), (-5.0, 1e6)])
def test_numbers_of_every_scale_keep_their_digits(tmp_path, low, width):
    """Float32 tells no two of the first scale's numbers apart."""
    data = tmp_path / "data"
    data.mkdir()
    numbers = [low + width * step / 8 for step in range(9)]
    lines = [f"{WORDS[step]}\t{number!r}" for step, number in enumerate(numbers)]
    for split in ("train", "dev"):
        (data / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines]))
    recipe = toy_recipe(make_model(tmp_path), data, "seeds=1", "custom.kind=regression", "epochs=60")
    results = finetune(recipe, tmp_path / "run")
    written = (tmp_path / "run/trials/seed-0/predictions-dev.tsv").read_text().splitlines()[1:]
    predicted, gold = zip(*((float(cell) for cell in line.split("\t")[1:]) for line in written), strict=True)
    assert list(gold) == numbers
    assert len(set(predicted)) == 9 and results["summary"]["spearman"]["median"] > 0.9
    assert all(abs(one - other) < width / 3 for one, other in zip(predicted, gold, strict=True))
    found = bertsmith.load(tmp_path / "run", device="cpu").classify(WORDS[8])
    assert found.value == pytest.approx(predicted[8], abs=width * 1e-4)
    assert float(found.text()) == pytest.approx(found.value, abs=width * 1e-4)


def test_a_run_says_its_classes_before_it_trains(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    rows = ["ba\tSpam", "be\tham", "bi\tspam", "bo\tham ", "bu\tham"]
    for split in ("train", "dev"):
        (data / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]))
    finetune(toy_recipe(make_model(tmp_path), data, "seeds=1", "epochs=0.1"), tmp_path / "run")
    said = capsys.readouterr().err
    assert "custom: 3 classes in 5 examples to learn from: Spam (1), ham (3), spam (1)\n" in said
    assert "'Spam' and 'spam' differ in upper and lower case alone, and are two classes" in said


def test_compat_has_the_plain_head(toy, tmp_path):
    finetune(toy_recipe(*toy, "seeds=1", "compat=true", "epochs=1"), tmp_path)
    assert {name for name in load_trial(tmp_path).network.weights if name.startswith("head.")} == {
        "head.output.weight",
        "head.output.bias",
    }


def test_from_a_pretraining_run_and_from_its_random_weights(toy, tmp_path):
    (tmp_path / "text").mkdir()
    data = make_data(tmp_path / "text")
    pretrain(tiny_recipe(data.path, "plan.steps=2"), tmp_path / "pretrained")
    start = open_pretrained_encoder(tmp_path / "pretrained")
    assert start.vocab_size == data.tokenizer.vocab_size
    finetune(toy_recipe(tmp_path / "pretrained", toy[1], "seeds=1", "epochs=1"), tmp_path / "run")
    random = toy_recipe(tmp_path / "pretrained", toy[1], "seeds=1", "epochs=1", "random_weights=true")
    with pytest.raises(UserError, match=r"random_weights: False → True"):
        finetune(random, tmp_path / "run")
    with pytest.raises(UserError, match=r"a fine-tuning run; `bertsmith export` it"):
        open_pretrained_encoder(tmp_path / "run")


def test_a_trained_trial_exported_is_a_starting_point(run, tmp_path):
    trial = load_trial(run)
    write_folder(tmp_path / "out", trial.network, trial.tokenizer, card="")
    assert read_folder(tmp_path / "out").num_labels == 2
    start = open_pretrained_encoder(tmp_path / "out")
    assert torch.equal(start.weights["head.dense.weight"], trial.network.weights["head.dense.weight"])
    assert "head.output.weight" not in start.weights


MODERN = ModernBertConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, initializer_range=0.2
)


@pytest.mark.parametrize("said_by", ["model", "recipe"])
def test_classes_read_from_the_mean_of_the_row_are_exported_so(tmp_path, said_by):
    own, settings = (["mean"], []) if said_by == "model" else (["cls"], ["classifier_pooling=mean"])
    model = make_model(tmp_path, replace(MODERN, classifier_pooling=own[0]))
    finetune(toy_recipe(model, write_task(tmp_path), "seeds=1", "epochs=1", *settings), tmp_path / "run")
    assert load_trial(tmp_path / "run").network.settings.classifier_pooling == "mean"
    export_run(tmp_path / "run", tmp_path / "out")
    texts = [" ".join(WORDS[5:9]), " ".join(WORDS[12:19]), WORDS[3]]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.classifier_pooling == "mean"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = theirs(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(dim=1)
    for folder in (tmp_path / "run", tmp_path / "out"):
        found = [list(answer.probs.values()) for answer in bertsmith.load(folder).classify(texts)]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_what_pooling_is_refused(toy, tmp_path):
    with pytest.raises(UserError, match=r"classifier_pooling = 'mean': the classes of such .* read from \[CLS\]"):
        finetune(toy_recipe(*toy, "classifier_pooling=mean"), tmp_path / "run")
    with pytest.raises(UserError, match=r"classifier_pooling = 'mean': the reference reads"):
        toy_recipe(*toy, "classifier_pooling=mean", "compat=true")


def test_what_cannot_be_used(toy, tmp_path):
    model, data = toy
    with pytest.raises(UserError, match=r"sequence_length = 128 is beyond the model's 64 positions"):
        finetune(toy_recipe(model, data, "sequence_length=128"), tmp_path / "run")
    with pytest.raises(UserError, match=r"model: .*no model; name a pre-training run .* or a Hugging Face folder"):
        finetune(toy_recipe(data, data), tmp_path / "run")
    with pytest.raises(UserError, match=r"no column 'review'"):
        finetune(toy_recipe(model, data, "custom.text=review"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("compat", [False, True])
def test_compat_reaches_the_loss_the_layers_rates_and_the_first_step(tmp_path, monkeypatch, compat):
    seen = {}

    def watch(runner, batches, course, events, state):
        seen.update(runner=runner, course=course)
        raise KeyboardInterrupt

    monkeypatch.setattr("bertsmith.tasks.trial.fit", watch)
    recipe = toy_recipe(
        make_model(tmp_path), write_task(tmp_path), f"compat={str(compat).lower()}", "layerwise_lr_decay=0.5"
    )
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, tmp_path / "run")
    assert seen["runner"].objective.compat == seen["course"].compat == compat
    rates = {group["lr_scale"] for group in seen["course"].optimizer.param_groups}
    assert rates == {1.0, *((0.25, 0.125) if compat else (0.5, 0.25))}  # head, layer, embeddings


def test_mnli_is_measured_on_both_dev_sets(tmp_path):
    model, data = make_model(tmp_path), write_glue(tmp_path / "glue", "mnli")
    base = [f"model={model}", f"data={data}", "seeds=1", "epochs=1", "sequence_length=16", "check_counts=false"]
    recipe = load(FinetuneRecipe, "finetune", "mnli", [*base, "machine.device=cpu"])
    write_glue(data, "mnli-mismatched")
    results = finetune(recipe, tmp_path / "run")
    assert list(results["summary"]) == ["accuracy", "accuracy_mismatched"]
    assert score_table(results)[0].endswith("  accuracy_mismatched")
    for name, metric in (("", "accuracy"), ("_mismatched", "accuracy_mismatched")):
        lines = (tmp_path / f"run/trials/seed-0/predictions-dev{name}.tsv").read_text().splitlines()[1:]
        right = [line.split("\t")[1] == line.split("\t")[2] for line in lines]
        assert results["trials"][0]["metrics"][metric] == sum(right) / len(right)
    write_split(data, "mnli-mismatched", "dev", rows=5)
    with pytest.raises(UserError, match=r"another run \(mismatched_dev: another one"):
        finetune(recipe, tmp_path / "run")
