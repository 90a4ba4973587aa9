"""Held-out measures of what was trained before are those that training logged."""

from types import SimpleNamespace

import pytest

from bertsmith.cli.answers import show_evaluation
from bertsmith.config.loading import apply_overrides
from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.errors import UserError
from bertsmith.evals.pinned import probes_of
from bertsmith.objectives.kinds import exported_objective
from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import open_model
from bertsmith.training.pretrain import pretrain
from tests.toys import tiny_recipe

OF_TRAINING = ("split", "step", "tokens", "seconds", "hidden_cosine")
"""What a line of metrics says of the training."""

DEFAULT_MASKS = ("objective.masking.mask_token_prob=0.85", "objective.masking.random_token_prob=0")
MODERN = ("model.kind=modern", "model.local_attention=4", "model.num_attention_heads=2")
MODELS = {
    "mlm": (),
    "rtd": ("objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "model.embedding_size=8"),
    "disentangled": ("objective.kind=rtd", "objective.generator.sharing=gradient_disentangled"),
    "modern": MODERN,
    "modern rtd": (*MODERN, "objective.kind=rtd", "objective.generator.hidden_fraction=0.5"),
    "one segment": ("model.type_vocab_size=1", "rows.kind=windows"),
}


def evaluate(path, *asked):
    settings = apply_overrides(EvaluateSettings, {}, ["machine.device=cpu", *asked]).settings
    return evaluate_model(open_model(path), settings).to_json()["heldout"]


@pytest.mark.parametrize("model", MODELS)
def test_a_run_and_its_export_measure_what_training_logged_last(data, tmp_path, model):
    """With the default masks and batch, which an export is measured with, they are the same rows and masks."""
    recipe = tiny_recipe(data, *DEFAULT_MASKS, *MODELS[model], "batch_size=128", "evaluate_rows=32", "plan.steps=6")
    pretrain(recipe, tmp_path / "run", probes=probes_of(recipe))
    logged = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "heldout"][-1]
    expected = {name: value for name, value in logged.items() if name not in OF_TRAINING}
    assert evaluate(tmp_path / "run") == pytest.approx(expected, abs=1e-6)
    export_run(tmp_path / "run", tmp_path / "out")
    found = evaluate(tmp_path / "out", f"data={data}", "evaluate_rows=32")
    assert found == pytest.approx(expected, abs=1e-4)
    assert evaluate(tmp_path / "run", "evaluate_rows=5") != found


OTHERWISE = (
    "objective.masking.prob=0.3", "objective.masking.mask_token_prob=0.5", "objective.masking.random_token_prob=0.2",
    "seed=3", "batch_size=7", "evaluate_rows=19", "rows.length=24",
)  # fmt: skip


@pytest.mark.parametrize("model", ["mlm", "rtd", "modern", "one segment"])
def test_a_run_that_masks_otherwise_and_its_export_measure_the_same(data, tmp_path, model):
    """Also after an import, and on the data that both are given by name."""
    more = ("objective.generator.temperature=2.5",) if model == "rtd" else ()
    pretrain(tiny_recipe(data, *MODELS[model], *OTHERWISE, *more, "plan.steps=2"), tmp_path / "run")
    expected = evaluate(tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    assert evaluate(tmp_path / "out", f"data={data}") == pytest.approx(expected, abs=1e-4)
    assert evaluate(tmp_path / "run", f"data={data}") == pytest.approx(expected, abs=1e-6)
    if model == "mlm":
        import_model(tmp_path / "out", tmp_path / "again", ImportSettings())
        assert evaluate(tmp_path / "again", f"data={data}") == pytest.approx(expected, abs=1e-4)
    settings = apply_overrides(EvaluateSettings, {}, ["machine.device=cpu", f"data={data}"]).settings
    both = [evaluate_model(open_model(tmp_path / name), settings) for name in ("run", "out")]
    first, second = (found.to_json()["measured"] for found in both)
    assert first == second and first["heldout_rows"] == 19 and first["masking"]["prob"] == 0.3


def test_it_says_how_it_measured(data, tmp_path, capsys):
    pretrain(tiny_recipe(data, *OTHERWISE, "plan.steps=2"), tmp_path / "run")
    settings = apply_overrides(EvaluateSettings, {}, ["machine.device=cpu"]).settings
    show_evaluation(evaluate_model(open_model(tmp_path / "run"), settings), False, False, None)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "measured on 19 held-out rows of two segments, of up to 24 tokens, with 30% of them predicted (50% as [MASK], "
        "20% at random), seed 3, batches of 7"
    )


def test_what_cannot_be_measured_is_refused_with_the_remedy(data, tmp_path):
    pretrain(tiny_recipe(data, *MODELS["rtd"]), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    with pytest.raises(UserError, match="data=DIR"):
        evaluate(tmp_path / "out")
    with pytest.raises(UserError, match="without the generator"):
        evaluate(tmp_path / "out" / "discriminator", f"data={data}")
    assert "mlm_loss" in evaluate(tmp_path / "out" / "generator", f"data={data}")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        evaluate(tmp_path / "run", f"data={tmp_path}")


def test_another_tokenizers_data_is_refused(data, tmp_path):
    pretrain(tiny_recipe(data), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    for name in ("tokenizer.json", "vocab.txt"):
        path = tmp_path / "out" / name
        path.write_text(path.read_text().replace("bum", "boom"))
    with pytest.raises(UserError, match="another tokenizer"):
        evaluate(tmp_path / "out", f"data={data}")


def test_an_exported_electric_names_the_run():
    electric = SimpleNamespace(head="replaced_tokens", is_energy_head=True)
    with pytest.raises(ValueError, match="an exported Electric, which has no held-out measures; name the run"):
        exported_objective([electric], {})
