"""An export's card is valid for the hub, says what was measured, and names no place of this machine."""

from huggingface_hub import ModelCard
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.tasks.finetune import finetune
from bertsmith.training.pretrain import pretrain
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.toys import make_data, tiny_recipe

TOLD = ("card.license=apache-2.0", "card.language=en,de", "card.base_model=me/mine", "card.datasets=a/b,c")


def export(run, out, *told):
    done = CliRunner().invoke(app, ["export", str(run), str(out), *told])
    assert done.exit_code == 0, (done.output, done.exception)
    return ModelCard.load(out / "README.md").data


def check_no_place(out, place):
    for path in out.rglob("*"):
        assert not path.is_file() or str(place).encode() not in path.read_bytes(), path
    assert "_name_or_path" not in (out / "config.json").read_text()


def test_of_a_pre_trained_model(tmp_path):
    pretrain(tiny_recipe(make_data(tmp_path).path, "plan.steps=6"), tmp_path / "run")
    data = export(tmp_path / "run", tmp_path / "out", *TOLD)
    assert (data.license, data.language, data.base_model, data.datasets) == (
        "apache-2.0", ["en", "de"], "me/mine", ["a/b", "c"]
    )  # fmt: skip
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("transformers", "fill-mask", "run")
    assert {result.metric_type for result in data.eval_results} >= {"mlm_loss"}
    assert {(result.dataset_name, result.task_type) for result in data.eval_results} == {("data", "fill-mask")}
    check_no_place(tmp_path / "out", tmp_path)


def test_of_a_fine_tuned_model(tmp_path):
    recipe = toy_recipe(make_model(tmp_path), write_task(tmp_path), "seeds=1", "epochs=1")
    finetune(recipe, tmp_path / "run")
    data = export(tmp_path / "run", tmp_path / "out")
    assert data.license is None and data.pipeline_tag == "text-classification"
    assert "accuracy" in {result.metric_type for result in data.eval_results}
    check_no_place(tmp_path / "out", tmp_path)


def test_an_unknown_key_is_refused_by_its_name(tmp_path):
    done = CliRunner().invoke(app, ["export", str(tmp_path), str(tmp_path / "out"), "card.licence=mit"])
    assert "did you mean card.license" in str(done.exception) or "did you mean license" in str(done.exception)
