"""A recipe with `init` takes the model's architecture, and refuses another."""

import json
from pathlib import Path

import pytest

from bertsmith.cli.planning import plan, show
from bertsmith.config.loading import load
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.training.initial import load_pretraining
from bertsmith.training.models import load_run
from bertsmith.training.pretrain import pretrain
from bertsmith.training.recipe import PretrainRecipe
from tests.toys import tiny_recipe

ELECTRA = ("objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "objective.generator.sharing=nothing")
MODERN = ("model.kind=modern", "model.local_attention=4", "model.embedding_size=8", "model.hidden_size=12")


def trained(data: Path, run: Path, *settings: str) -> Path:
    pretrain(tiny_recipe(data, *settings, "plan.steps=1"), run)
    return run


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> Path:
    return trained(data, tmp_path_factory.mktemp("plain"))


def continued(model: Path, data: Path, *settings: str) -> PretrainRecipe:
    return load_pretraining("continue", [f"init={model}", f"data={data}", *settings]).settings


def test_a_runs_own_architecture_is_taken_and_kept(data, tmp_path):
    model = trained(data, tmp_path / "first", "model.layer_norm_eps=1e-6", "model.attention_probs_dropout_prob=0.3")
    recipe = continued(
        model, data, "plan.steps=2", "batch_size=4", "evaluate_rows=4", "log=[]", "plan.evaluate_steps=1"
    )
    assert recipe.model == load_run(model).recipe.model
    assert (recipe.rows.length, recipe.rows.kind) == (32, "two_segments"), "no longer than the rows it was trained on"
    assert (recipe.schedule.learning_rate, recipe.optimizer.bias_correction) == (5e-5, True)
    assert 0.06 <= recipe.schedule.warmup_proportion <= 0.1
    pretrain(recipe, tmp_path / "second")
    kept = load(PretrainRecipe, "pretrain", str(tmp_path / "second" / "recipe.toml")).settings
    assert kept.model == recipe.model
    identity = json.loads((tmp_path / "second" / "manifest.json").read_text())["identity"]
    assert identity["model.hidden_size"] == 16 and identity["model.layer_norm_eps"] == 1e-6
    pretrain(recipe, tmp_path / "second")  # it finds itself done


@pytest.mark.parametrize("way", ["run", "export"])
def test_that_of_a_modern_encoder_too_with_its_projected_table(data, tmp_path, way):
    model = trained(data, tmp_path / "first", *MODERN)
    model = model if way == "run" else export_run(model, tmp_path / "out")
    pooled = "model.classifier_pooling=mean"  # which no weight depends on
    recipe = continued(model, data, "plan.steps=1", "batch_size=4", "evaluate_rows=4", "log=[]", pooled)
    assert (recipe.model.kind, recipe.model.hidden_size, recipe.model.local_attention) == ("modern", 12, 4)
    assert recipe.model.classifier_pooling == "mean"
    assert recipe.model.embedding == (8 if way == "run" else 12), "an export has it multiplied into the table"
    pretrain(recipe, tmp_path / "second")


@pytest.mark.parametrize("way", ["run", "export"])
def test_a_generators_sizes_are_taken_with_it(data, tmp_path, capsys, way):
    model = trained(data, tmp_path / "first", *ELECTRA)
    model = model if way == "run" else export_run(model, tmp_path / "pair")
    recipe = continued(model, data, "objective.kind=rtd", "plan.steps=1", "batch_size=4", "evaluate_rows=4", "log=[]")
    assert (recipe.objective.generator.hidden_fraction, recipe.objective.generator.sharing) == (0.5, "nothing")
    capsys.readouterr()
    pretrain(recipe, tmp_path / "second")
    said = capsys.readouterr().err
    assert "dropped: nothing" in said and "new, with random weights: nothing" in said
    with pytest.raises(UserError, match=r"another generator.*set objective\.generator\..*hidden_fraction=0\.5"):
        other = continued(model, data, "objective.kind=rtd", "objective.generator.hidden_fraction=0.25")
        pretrain(other, tmp_path / "third")


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("bert-base", (), r"model\.hidden_size: 768 → 16; model\.num_hidden_layers: 12 → 2\)"),
        ("modern-small", (), r"\(recipe → model: model\.kind: 'modern' → 'classic'\)"),
        ("continue", ("model.num_attention_heads=4",), r"\(recipe → model: model\.num_attention_heads: 4 → 2\); leave"),
        ("continue", ("model.max_position_embeddings=128",), r"model\.max_position_embeddings: 128 → 64"),
        ("continue", ("model.intermediate_size=63",), r"model\.intermediate_size: 63 → 64"),
        ("continue", ("model.hiden_size=16",), r"model\.hiden_size: .*hidden_size"),
        ("continue", ("rows.length=65",), r"rows\.length = 65 is beyond the model's 64 positions"),
        ("continue", ("init=nowhere",), r"init: nowhere: no such folder"),
    ],
)
def test_a_setting_that_differs_is_refused_by_its_key(data, plain, recipe, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        load_pretraining(recipe, [f"init={plain}", f"data={data}", *settings])
    assert len(str(caught.value).splitlines()) <= 2


def test_a_recipe_of_another_shape_names_the_command_for_this_one(data, plain):
    with pytest.raises(UserError) as refused:
        load_pretraining("electra-small-512", [f"init={plain}", f"data={data}"])
    command = f"`bertsmith pretrain continue init={plain} objective.kind=rtd rows.length=512 data=… --out …` takes any"
    assert str(refused.value).endswith(f"; the recipe is for that shape alone; {command}")
    with pytest.raises(UserError, match="leave these settings out"):
        load_pretraining("continue", [f"init={plain}", f"data={data}", "model.hidden_size=24"])


def test_a_setting_that_agrees_or_changes_no_weight_is_none(data, plain):
    settings = ("model.intermediate_size=64", "model.embedding_size=16", "model.hidden_dropout_prob=0.25")
    recipe = continued(plain, data, *settings)
    assert recipe.model.hidden_dropout_prob == 0.25 and recipe.model.feed_forward == 64


def test_a_model_of_one_kind_of_segment_gets_rows_of_one(data, tmp_path):
    model = trained(data, tmp_path / "first", "model.type_vocab_size=1", "rows.kind=windows")
    assert continued(model, data).rows.kind == "windows"
    with pytest.raises(UserError, match=r"rows\.kind = 'two_segments': the model knows one kind of segment"):
        continued(model, data, "rows.kind=two_segments")


def test_rows_are_as_the_model_was_trained_on(data, plain, tmp_path):
    """Of a folder: windows where the encoder knows no segments, as RoBERTa, DistilBERT and ModernBERT; else pairs."""
    roberta = trained(data, tmp_path / "roberta", "model.kind=roberta")
    for run in (plain, roberta):
        assert continued(run, data).rows.kind == "two_segments", "the run's own"
    assert continued(export_run(roberta, tmp_path / "out"), data).rows.kind == "windows"
    assert continued(tmp_path / "out", data, "rows.kind=two_segments").rows.kind == "two_segments"
    assert continued(export_run(plain, tmp_path / "bert"), data).rows.kind == "two_segments"


def test_show_and_plan_know_it_and_do_without_it(data, plain, capsys):
    show(None, "continue", [f"init={plain}"])
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("model.hidden_size"))
    assert line.split()[1:3] == ["16", "init"]
    plan("continue", [f"init={plain}", f"data={data}"], as_json=True)
    with_model = json.loads(capsys.readouterr().out)
    assert with_model["vocab_size"] == 86 and with_model["stages"][-1]["length"] == 32
    assert with_model["parameters"]["embeddings"] == 16 * (86 + 64 + 2 + 2)
    show(None, "continue", [])
    shown = capsys.readouterr().out
    assert "init=PATH" in shown and "model.hidden_size" in shown


@pytest.mark.parametrize(
    "line",
    [
        "model = 5", "model.hidden_size = 2020-01-01", "model.hidden_size = 0x" + "f" * 6000, "model.hidden_size = nan",
        "model.kind = ['classic']", "model.kind = {}", f"model.kind = '{'x' * 5000}'",
        "model.hidden_size = '16\u001b[2J'",
        "objective = 'rtd'", "objective.kind = []", "rows = 3", "objective = {kind = 'rtd', generator = 4}",
    ],
)  # fmt: skip
def test_a_value_that_is_none_is_refused_in_a_line_or_two(data, plain, tmp_path, line):
    recipe = tmp_path / "odd.toml"
    recipe.write_text(f"init = {json.dumps(str(plain))}\ndata = {json.dumps(str(data))}\nplan.steps = 1\n{line}\n")
    with pytest.raises(UserError) as caught:
        load_pretraining(str(recipe))
    said = str(caught.value)
    assert len(said.splitlines()) <= 3 and len(said) < 1200 and "\x1b" not in said
