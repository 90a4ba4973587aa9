"""Journeys from a run to the server's archive: what answers, what fills, what is left out, what is refused."""

import shutil
import zipfile

import pytest
from typer.testing import CliRunner

from bertsmith import load as load_model
from bertsmith.cli.app import app
from bertsmith.config.loading import apply_overrides, load
from bertsmith.console.shell import command
from bertsmith.errors import UserError
from bertsmith.predict.submit import SERVER_FILES, SubmitSettings, submit, write_submission
from bertsmith.sweeps.glue import run_glue
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.grade import read_predicted_labels
from bertsmith.tasks.published.glue import GLUE
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import load_trial
from tests.tasks.texts.toy_glue import SIZES, write_glue, write_split
from tests.tasks.toy_task import make_model, toy_recipe, write_task

RUN = ("cola", "mrpc", "sts-b", "mnli", "rte")
SMALL = ("check_counts=false", "machine.device=cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_glue(tmp_path_factory.mktemp("glue"), *RUN, "mnli-mismatched", "ax")


@pytest.fixture(scope="module")
def run(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    fast = ("seeds=2", "epochs=4", "sequence_length=16", "schedule.learning_rate=3e-3", "layerwise_lr_decay=1")
    run_glue(model, [f"data={data}", *fast, *SMALL], out)
    return out


def options(*texts):
    return apply_overrides(SubmitSettings, {}, [*SMALL, *texts]).settings


def read_archive(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_run_of_several_tasks_answers_those_of_glue(model, data, tmp_path):
    several = ["several.tasks=['rte','sts-b']", f"model={model}", f"data={data}", "seeds=2", "epochs=1", *SMALL]
    finetune(load(FinetuneRecipe, "finetune", "several", [*several, "sequence_length=16"]), tmp_path / "run")
    written, left_out = submit(tmp_path / "run", tmp_path / "out.zip", options())
    contents = read_archive(tmp_path / "out.zip")
    assert list(contents) == ["RTE.tsv", "STS-B.tsv"] and len(left_out) == len(SERVER_FILES) - 2
    for line, task in zip(written, ("sts-b", "rte"), strict=True):
        assert f"seed {load_trial(tmp_path / 'run', task=task).seed}, " in line
    predictor = load_model(tmp_path / "run", "cpu", "rte")
    cells = [line.split("\t") for line in (data / "RTE/test.tsv").read_text().splitlines()[1:]]
    answers = [predictor.classify(first, second).label for _, first, second in cells]
    assert [line.split("\t")[1] for line in contents["RTE.tsv"].splitlines()[1:]] == answers


def test_every_task_that_was_run_is_answered(run, tmp_path):
    written, left_out = submit(run, tmp_path / "new" / "out.zip", options())
    contents = read_archive(tmp_path / "new" / "out.zip")
    assert list(contents) == ["AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "RTE.tsv", "STS-B.tsv"]
    assert [line.split(":")[0] for line in left_out] == ["SST-2.tsv", "QQP.tsv", "QNLI.tsv", "WNLI.tsv"]
    assert all(line.endswith(": not run") for line in left_out)
    for sheet in SERVER_FILES:
        if sheet.name in contents:  # as `grade` reads them, with labels outside the task's set refused
            path = tmp_path / sheet.name
            path.write_text(contents[sheet.name])
            assert contents[sheet.name].startswith("index\tprediction\n0\t")
            assert len(read_predicted_labels(path, GLUE[sheet.task].spec, path, SIZES["test"])) == SIZES["test"]
    best = load_trial(run / "tasks" / "rte").seed
    [line] = [line for line in written if line.startswith("RTE")]
    assert line.split()[:3] == ["RTE.tsv", "6", f"{run}/tasks/rte,"] and f"seed {best}, accuracy" in line
    submit(run, tmp_path / "again.zip", options())
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "new" / "out.zip").read_bytes()


@pytest.mark.parametrize("task", ["rte", "sts-b", "mnli"])
def test_the_trial_answers_a_test_set_as_it_answered_dev(run, data, tmp_path, task):
    copied = shutil.copytree(data, tmp_path / "glue")
    folder, suffix = copied / GLUE[task].folders[0], GLUE[task].suffix
    lines = (folder / f"dev{suffix}.tsv").read_text().splitlines()
    (folder / f"test{suffix}.tsv").write_text("".join(line.rpartition("\t")[0] + "\n" for line in lines))
    file = {"rte": "RTE.tsv", "sts-b": "STS-B.tsv", "mnli": "MNLI-m.tsv"}[task]
    for seed in (0, 1):
        submit(run / "tasks" / task, tmp_path / "out.zip", options(f"data={copied}", f"seed={seed}"))
        answers = [line.split("\t") for line in read_archive(tmp_path / "out.zip")[file].splitlines()]
        dev = (run / f"tasks/{task}/trials/seed-{seed}/predictions-dev.tsv").read_text().splitlines()
        expected = [line.split("\t")[:2] for line in dev]
        if task == "sts-b":
            expected[1:] = [[index, f"{min(5.0, max(0.0, float(answer))):.3f}"] for index, answer in expected[1:]]
            for ours, theirs in zip(answers[1:], expected[1:], strict=True):
                assert float(ours[1]) == pytest.approx(float(theirs[1]), abs=2e-3)
        else:
            assert answers == expected


def test_fillers_are_the_commonest_label_or_the_mean_and_are_listed(run, model, data, tmp_path):
    whole = write_glue(shutil.copytree(data, tmp_path / "glue"), "sst-2", "qqp", "wnli")
    train = whole / "SST-2" / "train.tsv"
    train.write_text(train.read_text().replace("\t0\n", "\t1\n", 1))
    (whole / "STS-B" / "train.tsv").write_text("index\tsentence1\tsentence2\tscore\n0\ta\tb\t1\n1\ta\tb\t2.5\n")
    (whole / "WNLI" / "test.tsv").unlink()
    arguments = ["submit", str(run / "tasks/rte"), str(tmp_path / "out.zip"), f"data={whole}", *SMALL]
    result = CliRunner().invoke(app, [*arguments, "--fill"])
    assert result.exit_code == 0, result.output
    contents = read_archive(tmp_path / "out.zip")
    assert sorted(contents) == sorted(sheet.name for sheet in SERVER_FILES)
    assert contents["SST-2.tsv"] == "index\tprediction\n" + "".join(f"{index}\t1\n" for index in range(6))
    assert contents["STS-B.tsv"].splitlines()[1] == "0\t1.750"
    assert contents["WNLI.tsv"].count("\n") == 147, "the official number, as there is no test file"
    assert contents["QNLI.tsv"].splitlines()[5463] == "5462\tentailment"
    assert "SST-2.tsv           6  filler 1: the most frequent training label (not run)" in result.stdout
    assert "filler 1.750: the mean of the training labels (not run)" in result.stdout
    assert f"filler entailment: the first label, for want of training labels in {whole} (not run)" in result.stdout
    assert "left out" not in result.stdout
    bare = CliRunner().invoke(app, arguments)
    assert list(read_archive(tmp_path / "out.zip")) == ["RTE.tsv"]
    assert bare.stdout.count("left out: ") == 10
    assert bare.stdout.endswith(f"next: {command('bertsmith', *arguments, '--fill')}\n")


def test_without_the_diagnostic_set_it_is_left_out(run, data, tmp_path):
    copied = shutil.copytree(data, tmp_path / "glue")
    shutil.rmtree(copied / "diagnostic")
    _, left_out = submit(run / "tasks" / "mnli", tmp_path / "out.zip", options(f"data={copied}"))
    assert list(read_archive(tmp_path / "out.zip")) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    [line] = [line for line in left_out if line.startswith("AX")]
    assert line.startswith(f"AX.tsv: {copied}: no folder diagnostic or AX or ax in it; `bertsmith download glue`")


def test_what_cannot_be_submitted(run, model, data, tmp_path):
    out = tmp_path / "out.zip"
    write_submission(out, {"RTE.tsv": "what was there"})
    before = out.read_bytes()
    copied = shutil.copytree(data, tmp_path / "glue")
    asked = options(f"data={copied}")
    with pytest.raises(UserError, match=r"diagnostic.tsv: 6 examples where 1,104|test.tsv: 6 examples where 1,063"):
        submit(run, out, options("check_counts=true"))
    test = write_split(copied, "rte", "test")
    test.write_text(test.read_text().replace("sentence1", "sentence_1"))
    with pytest.raises(UserError, match=r"RTE/test.tsv: no column 'sentence1'; there are 'index', 'sentence_1'"):
        submit(run, out, asked)
    test.write_text("index\tsentence1\tsentence2\n0\tone\n")
    with pytest.raises(UserError, match=r"RTE/test.tsv, line 2: 2 columns where there should be 3; fix the line$"):
        submit(run, out, asked)
    test.unlink()
    with pytest.raises(UserError, match=r"RTE/test.tsv: no such file, and no test.parquet"):
        submit(run, out, asked)
    with pytest.raises(UserError, match=r"tasks/cola: no trial with seed 7; its seeds: 0, 1"):
        submit(run, out, options("seed=7"))
    for folder in (model, tmp_path / "none"):
        with pytest.raises(UserError, match=r"neither a GLUE run nor a fine-tuning run; .*`bertsmith glue`"):
            submit(folder, out, options())
    finetune(toy_recipe(model, write_task(tmp_path), "seeds=1", "epochs=0.1"), tmp_path / "own")
    with pytest.raises(UserError, match=r"own: a run of the task custom, which is none of GLUE's"):
        submit(tmp_path / "own", out, options())
    assert out.read_bytes() == before
    for wrong in (tmp_path, tmp_path / "out.tar"):
        with pytest.raises(UserError, match=r"name a file that ends in .zip"):
            submit(run, wrong, options())


def test_a_run_without_a_finished_trial(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copied / "tasks")
    with pytest.raises(UserError, match=r"no task has a finished trial; run `bertsmith glue` again"):
        submit(copied, tmp_path / "out.zip", options())


def test_a_task_that_started_from_mnli_is_marked(model, data, tmp_path):
    fast = ("seeds=1", "epochs=1", "sequence_length=16", "from_mnli=true")
    run_glue(model, [f"data={data}", *fast, *SMALL], tmp_path / "run")
    written, _ = submit(tmp_path / "run", tmp_path / "out.zip", options())
    marked = [line.split(".")[0] for line in written if "(from a model of mnli)" in line]
    assert marked == ["MRPC", "STS-B", "RTE"]


def test_a_glue_run_is_told_of_the_archive_before_anything_else(run, tmp_path):
    asked = CliRunner().invoke(app, ["submit", str(run), str(tmp_path / "glue.json")])
    assert str(asked.exception) == f"{run}: a GLUE run, whose answers go into an archive; name an OUT.zip"


def test_a_task_of_a_glue_run_is_found_where_it_is(run):
    with pytest.raises(UserError, match=rf"no such folder; the GLUE run in {run} has it in {run}/tasks/rte$"):
        load_model(run / "rte")
