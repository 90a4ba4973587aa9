"""Journeys of `glue`: small tasks in, a folder and a table out; stopped and continued; MNLI first; what is refused."""

import json

import pytest
import torch
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.config.loading import identity
from bertsmith.convert.export import export_run
from bertsmith.errors import Interrupted, UserError
from bertsmith.sweeps.glue import read_glue_job, run_glue
from bertsmith.tasks.departures import glue_departures
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tasks.published.glue import GLUE
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.trials import schedule
from tests.tasks.texts.toy_glue import write_glue, write_split
from tests.tasks.toy_task import make_model, toy_recipe

SMALL = ("epochs=1", "sequence_length=16", "check_counts=false", "machine.device=cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Without QQP and QNLI's train."""
    folder = write_glue(tmp_path_factory.mktemp("glue"), *(set(GLUE) - {"qqp", "qnli"}), "mnli-mismatched")
    write_split(folder, "qnli", "dev")
    return folder


@pytest.fixture(scope="module")
def run(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    run_glue(model, [f"data={data}", "seeds=2", *SMALL], out)
    return out


def never(*_):
    raise AssertionError("trained again")


def test_every_task_that_is_there_is_run(run, data):
    results = json.loads((run / "results.json").read_text())
    assert list(results["tasks"]) == ["cola", "sst-2", "mrpc", "sts-b", "mnli", "rte", "wnli"]
    assert results["absent"]["qqp"] == f"{data}: no folder QQP or qqp in it"
    assert "QNLI/train.tsv: no such file" in results["absent"]["qnli"]
    assert list(results["tasks"]["mnli"]["summary"]) == ["accuracy", "accuracy_mismatched"]
    for task, row in results["tasks"].items():
        own = json.loads((run / "tasks" / task / "results.json").read_text())
        assert row == {"from_mnli": False, "trials": own["trials"], "summary": own["summary"]}
    reference, cramming = (results["averages"][name] for name in ("reference", "cramming"))
    assert reference["average"] is None and reference["missing"] == ["qqp accuracy", "qnli accuracy"]
    assert reference["departures"] == ["not the reference's hyper-parameters (epochs, sequence_length)"]
    names = [("cola", "mcc"), ("sst-2", "accuracy"), ("mrpc", "accuracy"), ("sts-b", "spearman"), ("mnli", "accuracy"),
             ("rte", "accuracy")]  # fmt: skip
    medians = [results["tasks"][task]["summary"][metric]["median"] for task, metric in names]
    assert reference["mean"] == pytest.approx(sum(medians) / 6)
    assert cramming["numbers"] == 7 and not cramming["departures"], "epochs=1 made it one set"
    assert json.loads((run / "manifest.json").read_text())["finished"] is True


def test_again_trains_nothing_and_the_table_is_there_again(run, model, data, monkeypatch):
    monkeypatch.setattr(schedule, "run_trial", never)
    arguments = ["glue", str(model), f"data={data}", "seeds=2", *SMALL, "--out", str(run)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "accuracy_mismatched" in result.stdout and "over 6 of 8" in result.stdout and "82.20" in result.stdout
    assert "seed 0" in result.stderr and "seed 0" not in result.stdout
    assert "qqp: left out" in result.stderr and "wnli: 7 of 7\n" in result.stderr
    table = result.stdout[: result.stdout.index(f"{run / 'results.json'} was finished before")]
    assert table in CliRunner().invoke(app, ["show", str(run)]).stdout
    content = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {key: content[key] for key in content if key != "published"} == json.loads(
        (run / "results.json").read_text()
    )
    assert content["published"]["reference"][0]["score"] == 0.822


def test_stopped_it_keeps_what_is_finished_and_goes_on(model, data, tmp_path, monkeypatch):
    real, trained = schedule.run_trial, []

    def stopping_at_mrpc(context, seed, folder):
        if context.task.spec.name == "mrpc":
            raise Interrupted(15)
        return real(context, seed, folder)

    asked = [f"data={data}", "seeds=1", *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "run_trial", stopping_at_mrpc)
        with pytest.raises(Interrupted):
            run_glue(model, asked, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["finished"] is False
    assert list(json.loads((tmp_path / "results.json").read_text())["tasks"]) == ["cola", "sst-2"]
    monkeypatch.setattr(
        schedule,
        "run_trial",
        lambda context, seed, folder: trained.append((context.task.spec.name, seed)) or real(context, seed, folder),
    )
    results = run_glue(model, asked, tmp_path)
    assert trained == [(task, 0) for task in ("mrpc", "sts-b", "mnli", "rte", "wnli")]
    assert results["tasks"]["cola"]["summary"]["mcc"]["std"] is None
    trained.clear()
    few = write_glue(tmp_path / "few", "rte")
    run_glue(model, [f"data={few}", "seeds=2", *SMALL], tmp_path)
    assert trained == [("rte", 1)], "seeds are added; tasks that are no longer in data stay"
    assert "mrpc" in json.loads((tmp_path / "results.json").read_text())["tasks"]


def test_another_model_data_or_setting_is_refused(run, model, data, tmp_path):
    asked = [f"data={data}", "seeds=2", *SMALL]
    with pytest.raises(UserError, match=r"another run \(model: another one\)"):
        run_glue(make_model(tmp_path, intermediate_size=64), asked, run)
    with pytest.raises(UserError, match=r"another run \(batch_size: 32 → 8\)"):
        run_glue(model, [*asked, "batch_size=8"], run)
    with pytest.raises(UserError, match=r"another run \(.*protocol: 'reference' → 'cramming'"):
        run_glue(model, [*asked, "protocol=cramming"], run)
    other = write_glue(tmp_path / "other", "cola")
    write_split(other, "cola", "dev", rows=5)
    with pytest.raises(UserError, match=r"tasks/cola: belongs to another run \(data: another one\)"):
        run_glue(model, [f"data={other}", "seeds=2", *SMALL], run)
    with pytest.raises(UserError, match="a glue folder where a finetune folder is needed"):
        finetune(read_glue_job(model, asked).recipes["cola"], run)


def test_a_bad_file_of_the_last_task_is_found_before_anything_is_trained(model, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "run_trial", never)
    folder = write_glue(tmp_path / "glue", "cola", "wnli")
    path = folder / "WNLI" / "train.tsv"
    path.write_text(path.read_text().replace("label", "lable", 1))
    with pytest.raises(UserError, match="no column 'label'"):
        run_glue(model, [f"data={folder}", *SMALL], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_small_tasks_from_mnli_are_marked_everywhere(model, tmp_path):
    folder = write_glue(tmp_path / "glue", "cola", "mrpc", "sts-b", "mnli", "rte")
    asked = [f"data={folder}", "seeds=2", "from_mnli=true", *SMALL]
    result = CliRunner().invoke(app, ["glue", str(model), *asked, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "rte (from MNLI)" in result.stdout and "started from MNLI's model: mrpc, sts-b, rte" in result.stdout
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert [task for task, row in results["tasks"].items() if row["from_mnli"]] == ["mrpc", "sts-b", "rte"]
    assert results["averages"]["cramming"]["from_mnli"] == ["mrpc", "sts-b", "rte"]
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    best = load_trial(tmp_path / "run/tasks/mnli")
    assert manifest["mnli_seed"] == best.seed
    started = json.loads((tmp_path / "run/tasks/rte/manifest.json").read_text())
    assert started["recipe"]["model"] == str(tmp_path / "run/mnli-model") and started["learnt_before"] == ["mnli"]
    rte = tmp_path / "run/tasks/rte"
    assert "learnt before" in CliRunner().invoke(app, ["show", str(rte)]).stdout
    export_run(rte, tmp_path / "rte-hf")
    assert "learnt before | mnli" in (tmp_path / "rte-hf/README.md").read_text(encoding="utf-8")
    assert open_pretrained_encoder(tmp_path / "rte-hf").finetuned_on == ("mnli", "rte")
    drawn = ["task=rte", "seeds=1", "random_weights=true", *SMALL]
    finetune(toy_recipe(tmp_path / "rte-hf", folder, *drawn), tmp_path / "drawn")
    assert json.loads((tmp_path / "drawn/manifest.json").read_text())["learnt_before"] == []
    exported = open_pretrained_encoder(tmp_path / "run/mnli-model").weights
    assert len(exported) > 10 and all(
        torch.equal(tensor, best.network.weights[name]) for name, tensor in exported.items()
    )
    run_glue(model, [*asked, "seeds=3"], tmp_path / "run")  # whatever seed is best now
    assert json.loads((tmp_path / "run/manifest.json").read_text())["mnli_seed"] == best.seed
    with pytest.raises(UserError, match=r"another run \(from_mnli: True → False\)"):
        run_glue(model, [f"data={folder}", *SMALL], tmp_path / "run")


def test_overwrite_starts_afresh(model, tmp_path):
    folder = write_glue(tmp_path / "glue", "rte", "wnli")
    run_glue(model, [f"data={folder}", "seeds=1", *SMALL], tmp_path / "run")
    (folder / "WNLI/train.tsv").unlink()
    results = run_glue(model, [f"data={folder}", "seeds=1", *SMALL, "epochs=2"], tmp_path / "run", overwrite=True)
    assert list(results["tasks"]) == ["rte"]
    assert not (tmp_path / "run/tasks/wnli").exists()


def departures(job):
    return glue_departures({task: identity(loaded.settings) for task, loaded in job.recipes.items()})


def test_crammings_protocol_is_one_set_and_the_references_is_not(model, data):
    recipes = {task: loaded.settings for task, loaded in read_glue_job(model, [f"data={data}"]).recipes.items()}
    assert (recipes["rte"].epochs, recipes["cola"].epochs) == (10, 3)
    job = read_glue_job(model, [f"data={data}", "protocol=cramming"])
    for task, loaded in job.recipes.items():
        recipe = loaded.settings
        assert (recipe.task, recipe.epochs, recipe.batch_size) == (task, 5, 16)
        assert (recipe.schedule.learning_rate, recipe.layerwise_lr_decay) == (4e-5, 1.0)
    assert job.recipes["qqp"].settings.skip_malformed
    assert departures(job)["cramming"] == []
    reference = departures(read_glue_job(model, [f"data={data}"]))
    assert reference["reference"] == []
    assert "not one set for all tasks (epochs)" in reference["cramming"][0] and len(reference["cramming"]) == 2
    assert not departures(read_glue_job(model, [f"data={data}", "compat=true"]))["reference"]
    other = departures(read_glue_job(model, [f"data={data}", "optimizer.kind=adafactor"]))["reference"]
    assert "optimizer.kind" in other[0], "settings that the shipped recipes do not have"


def test_what_cannot_be_used(model, data, tmp_path):
    for override, message in (
        ("task=rte", r"task=rte: not a setting of .*`bertsmith finetune`"),
        ("model=x", r"model=x: .*the model is the first argument"),
        ("protocol=ours", r"protocol = 'ours': "),
        ("epoch=3", r"epoch: no such setting; did you mean epochs"),
        ("compat=true", r"from_mnli=true: .*compat=true"),
    ):
        with pytest.raises(UserError, match=message):
            read_glue_job(model, [f"data={data}", "from_mnli=true", override])
    with pytest.raises(UserError, match="data: needs a value"):
        read_glue_job(model, [])
    with pytest.raises(UserError, match="data/glue: a setting on the command line is written key=value"):
        read_glue_job(model, ["data/glue"])
    with pytest.raises(UserError, match="none: no such folder"):
        read_glue_job(model, [f"data={tmp_path / 'none'}"])
    with pytest.raises(UserError, match="no GLUE task in it with training and dev files"):
        read_glue_job(model, [f"data={tmp_path}"])
    with pytest.raises(UserError, match=r"from_mnli=true: there is no MNLI to start from \(.*no folder MNLI"):
        read_glue_job(model, [f"data={write_glue(tmp_path, 'rte')}", "from_mnli=true"])
