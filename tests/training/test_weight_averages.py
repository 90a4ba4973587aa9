"""Averages of weights: as their formulas, the same bits after a resumption, measured, exported."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import bertsmith
from bertsmith.config.loading import apply_overrides
from bertsmith.convert.export import ExportSettings, export_run
from bertsmith.errors import UserError
from bertsmith.predict import evaluate
from bertsmith.training import checkpoints
from bertsmith.training.models import open_model
from bertsmith.training.pretrain import pretrain
from tests.toys import tiny_recipe


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of twelve steps that keeps an average, with a checkpoint at each of them."""
    out = tmp_path_factory.mktemp("run") / "run"
    pretrain(tiny_recipe(data, *KEEPING), out)
    return out


KEEPING = ("average_decay=0.5", "plan.checkpoint_steps=1", "plan.keep_checkpoints=0", "plan.steps=12")


def weights_at(run, step):
    return load_file(run / f"checkpoints/step-{step:08d}/model.safetensors")


def test_it_forgets_the_first_weights_soon_and_later_keeps_its_share(run):
    average = None
    for step in range(12):
        kept = min(0.5, (1 + step) / (10 + step))
        weights = weights_at(run, step + 1)
        if step == 0:
            first = load_file(run / "checkpoints/step-00000001/optimizer.safetensors")
            average = {name: first[f"{name}.average"] for name in weights}
            continue
        average = {name: kept * average[name] + (1 - kept) * weights[name] for name in weights}
    last = load_file(run / "checkpoints/step-00000012/optimizer.safetensors")
    for name, tensor in average.items():
        assert torch.allclose(last[f"{name}.average"], tensor, atol=1e-6), name
    assert any(not torch.equal(last[f"{name}.average"], weights_at(run, 12)[name]) for name in average)


def test_resumed_it_ends_with_the_same_bits_and_measures(run, data, tmp_path):
    resumed = tmp_path / "run"
    shutil.copytree(run, resumed)
    for step in range(5, 13):
        shutil.rmtree(resumed / f"checkpoints/step-{step:08d}")
    measures = pretrain(tiny_recipe(data, *KEEPING), resumed)["measures"]
    one, two = (checkpoints.load_newest(path) for path in (run, resumed))
    assert all(torch.equal(tensor, two.optimizer[name]) for name, tensor in one.optimizer.items())
    assert measures["averaged_mlm_loss"] != measures["mlm_loss"]


def test_the_average_is_exported_with_its_own_measures(run, data, tmp_path):
    bertsmith.export(run, tmp_path / "out", {"averaged": True})
    kept = load_file(run / "checkpoints/step-00000012/optimizer.safetensors")
    name = "encoder.embeddings.token.weight"
    assert torch.equal(open_model(tmp_path / "out").network.weights[name], kept[f"{name}.average"])
    measures = json.loads((run / "manifest.json").read_text())["measures"]
    found = bertsmith.evaluate(tmp_path / "out", {"data": data}).heldout
    assert found["mlm_loss"] == pytest.approx(measures["averaged_mlm_loss"], rel=1e-5)
    assert found["mlm_loss"] != pytest.approx(measures["mlm_loss"], rel=1e-4)
    assert f"{measures['averaged_mlm_loss']:.4g}" in (tmp_path / "out/README.md").read_text()


def test_the_mean_of_checkpoints_is_exported(run, tmp_path):
    bertsmith.export(run, tmp_path / "out", {"mean_of": 3})
    name = "encoder.embeddings.token.weight"
    mean = sum(weights_at(run, step)[name] for step in (10, 11, 12)) / 3
    assert torch.allclose(open_model(tmp_path / "out").network.weights[name], mean, atol=1e-6)


def test_averages_are_measured_as_their_exports_are(run, data, tmp_path, monkeypatch):
    measures = json.loads((run / "manifest.json").read_text())["measures"]
    found = bertsmith.evaluate(run, {"averaged": True}).heldout
    assert found["mlm_loss"] == pytest.approx(measures["averaged_mlm_loss"], rel=1e-5)
    bertsmith.export(run, tmp_path / "out", {"mean_of": 3})
    exported = bertsmith.evaluate(tmp_path / "out", {"data": data}).heldout
    found = bertsmith.evaluate(run, {"mean_of": 3}).heldout
    assert found == {name: pytest.approx(exported[name], rel=1e-5) for name in found}

    given = {}
    monkeypatch.setattr(evaluate, "quick_glue", lambda model, *_, jobs: given.update(model=model, jobs=jobs))
    evaluate.evaluate_model(open_model(run), evaluate.EvaluateSettings(glue=str(tmp_path), mean_of=3))
    name = "encoder.embeddings.token.weight"
    assert torch.equal(given["model"].weights[name], open_model(tmp_path / "out").network.weights[name])
    assert given["jobs"] == 1, "what is read lies in no folder"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"averaged": True, "mean_of": 2}, "two averages; leave one of them out"),
        ({"averaged": True, "jobs": 2, "glue": "glue"}, "jobs = 2: averages of weights lie in no folder; export them"),
        ({"mean_of": 2}, "no pre-training run; averaged and mean_of are of those alone"),
    ],
)
def test_averages_that_cannot_be_measured_are_refused(run, tmp_path, asked, message):
    bertsmith.export(run, tmp_path / "out")
    with pytest.raises(UserError, match=message):
        bertsmith.evaluate(tmp_path / "out", asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["averaged=true"], r"^averaged: .* kept no average of its weights, .*average_decay=0.999 or so; mean_of=2"),
        (["mean_of=99"], r"mean_of = 99: .* has \d checkpoints; plan.keep_checkpoints says how many are kept"),
        (["averaged=true", "mean_of=2"], "two averages; leave one of them out"),
    ],
)
def test_averages_that_are_not_there_are_refused(data, tmp_path, asked, message):
    pretrain(tiny_recipe(data), tmp_path / "run")
    with pytest.raises(UserError, match=message) as caught:
        export_run(tmp_path / "run", tmp_path / "out", options=apply_overrides(ExportSettings, {}, asked).settings)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()
