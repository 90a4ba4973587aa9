"""Journeys of `search`: a grid in, a folder and a table out; stopped and continued; more values; what is refused."""

import json
import zipfile

import pytest
import torch
from typer.testing import CliRunner

import bertsmith
from bertsmith.cli.app import app
from bertsmith.cli.show import show
from bertsmith.console.shell import command
from bertsmith.convert.export import export_run
from bertsmith.errors import Interrupted, UserError
from bertsmith.hub.huggingface import read_folder
from bertsmith.predict.submit import SubmitSettings, submit
from bertsmith.reports.page import write_page
from bertsmith.sweeps.search import LEARNING_RATES, read_search_job, run_search, search_table
from bertsmith.tasks.runs import chosen_run, load_trial
from bertsmith.tasks.trials import schedule
from tests.tasks.texts.toy_glue import write_glue
from tests.tasks.toy_task import make_model, write_task

GRID = ("search.learning_rate=[1e-6,3e-3]", "search.epochs=[1,2]")
NAMES = [f"lr-{rate}-epochs-{epochs}" for rate in ("0.000001", "0.003") for epochs in (1, 2)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("toy")
    return [f"model={make_model(folder)}", f"data={write_task(folder)}", "seeds=2", "batch_size=8",
            "sequence_length=32", "layerwise_lr_decay=1", "machine.device=cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def run(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    run_search("custom", [*given, *GRID], out)
    return out


@pytest.fixture
def chosen(run) -> str:
    return json.loads((run / "results.json").read_text())["chosen"]


def never(*_):
    raise AssertionError("trained again")


def test_every_combination_is_a_run_and_the_best_mean_is_chosen(run):
    results = json.loads((run / "results.json").read_text())
    assert sorted(results["grid"]) == sorted(path.name for path in (run / "grid").iterdir()) == NAMES
    assert results["grid"][NAMES[1]]["settings"] == {"learning_rate": 1e-6, "epochs": 2}
    means = {}
    for name, row in results["grid"].items():
        own = json.loads((run / "grid" / name / "results.json").read_text())
        assert row["trials"] == own["trials"] and len(row["trials"]) == 2
        means[name] = sum(trial["metrics"]["accuracy"] for trial in row["trials"]) / 2
    assert means[results["chosen"]] == max(means.values()) > min(means.values())
    assert results["chosen"] in NAMES[2:]
    assert results["metric"] == "accuracy" and "dev" in results["chosen_by"]


def test_the_table_marks_the_choice_and_says_what_its_score_is_worth(run, chosen):
    heading, first, *others, note = search_table(json.loads((run / "results.json").read_text()))
    assert heading.split() == ["custom", "accuracy", "std", "seeds"]
    assert first.split()[0] == chosen and first.endswith("chosen")
    assert len(others) == 3 and not any("chosen" in line for line in others)
    assert "the best of 4" in note and "on dev" in note and "optimistic" in note and note.endswith("such as a test set")


def test_the_run_of_a_search_stands_for_the_chosen_one(run, chosen, tmp_path, capsys):
    assert bertsmith.load(run, device="cpu").path == chosen_run(run) == run / "grid" / chosen
    best = load_trial(run / "grid" / chosen)
    exported = read_folder(export_run(run, tmp_path / "out"))
    assert torch.equal(exported.weights["head.output.weight"], best.network.weights["head.output.weight"])
    assert command("bertsmith", *show(str(run))) == f"bertsmith export {run}/grid/{chosen} {run}-hf"
    assert "schedule.learning_rate, epochs" in capsys.readouterr().out
    page = write_page([run], tmp_path / "page.html").read_text()
    assert "4 runs side by side" in page and page.count("finished, chosen by the search") == 1


def test_stopped_it_goes_on_and_keeps_what_is_finished(given, run, tmp_path, monkeypatch):
    real, trained = schedule.run_trial, []

    def stopped(context, seed, folder):
        if len(trained) == 4:  # two seeds of two combinations
            raise Interrupted(15)
        trained.append(folder)
        return real(context, seed, folder)

    monkeypatch.setattr(schedule, "run_trial", stopped)
    with pytest.raises(Interrupted):
        run_search("custom", [*given, *GRID], tmp_path)
    assert list(json.loads((tmp_path / "results.json").read_text())["grid"]) == NAMES[:2]
    with pytest.raises(UserError, match=r"a search that is not finished; run `bertsmith search` again"):
        bertsmith.load(tmp_path)
    monkeypatch.setattr(schedule, "run_trial", real)
    before = (tmp_path / "grid" / NAMES[0] / "trials/seed-0/results.json").stat().st_mtime_ns
    run_search("custom", [*given, *GRID], tmp_path)
    assert (tmp_path / "grid" / NAMES[0] / "trials/seed-0/results.json").stat().st_mtime_ns == before
    assert (tmp_path / "results.json").read_bytes() == (run / "results.json").read_bytes()
    for name in NAMES:
        weights = [folder / "grid" / name / "trials/seed-1/model.safetensors" for folder in (tmp_path, run)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_values_are_added_and_what_was_tried_stays_in_the_choice(given, tmp_path):
    run_search("custom", [*given, "seeds=1", "epochs=2", "search.learning_rate=[3e-3]"], tmp_path)
    results = run_search("custom", [*given, "seeds=1", "epochs=2", "search.learning_rate=[1e-6]"], tmp_path)
    assert list(results["grid"]) == ["lr-0.000001", "lr-0.003"] and results["chosen"] == "lr-0.003"


def test_a_search_over_nothing_is_refused(given, tmp_path):
    with pytest.raises(UserError, match=r"search.epochs=\[\]: no value to search; name some, or leave it out"):
        run_search("custom", [*given, "search.epochs=[]"], tmp_path / "run")


def test_another_search_is_refused(given, run, tmp_path, monkeypatch):
    monkeypatch.setattr("bertsmith.tasks.trials.schedule.run_trial", never)
    other = write_task(tmp_path)
    train = other / "train.tsv"
    train.write_text(train.read_text().rpartition("\n")[0].rpartition("\n")[0] + "\n")
    with pytest.raises(UserError, match=r"another search \(data: another one\)"):
        run_search("custom", [*given, "search.learning_rate=[1e-5]", "search.epochs=[2]", f"data={other}"], run)
    with pytest.raises(UserError, match=r"another search \(sequence_length: 32 → 16\)"):
        run_search("custom", [*given, *GRID, "sequence_length=16"], run)
    with pytest.raises(UserError, match=r"another search \(searched: .*\)"):
        run_search("custom", [*given, GRID[0]], run)
    with pytest.raises(UserError, match=r"a finetune folder, not a search one; choose another --out"):
        run_search("custom", [*given, *GRID], run / "grid" / NAMES[0], overwrite=True)
    assert len(run_search("custom", [*given, *GRID], run)["grid"]) == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.learningrate=[1e-4]", "search.learningrate: no such setting; did you mean search.learning_rate?"),
        ("search.learning_rate=1e-4", "search.learning_rate = 0.0001: "),
        ("search.learning_rate=[0]", "schedule.learning_rate = 0"),
        ("search.epochs=[1,1.0]", r"search.epochs = \[1.0, 1.0\]: a value is there twice"),
        ("schedule.learning_rate=1e-4", r"schedule.learning_rate: searched \(search.learning_rate\)"),
    ],
)
def test_what_cannot_be_searched_is_refused(given, override, said):
    with pytest.raises(UserError, match=said):
        read_search_job("custom", [*given, override])


def test_without_a_grid_it_is_the_papers_learning_rates(given):
    job = read_search_job("custom", given)
    assert [recipe.settings.schedule.learning_rate for recipe in job.recipes.values()] == list(LEARNING_RATES)
    assert next(iter(job.recipes)) == "lr-0.00003"
    assert read_search_job("custom", [*given, "search.epochs=[2]"]).keys == ("epochs",)


def test_from_the_command_line_to_a_submission(tmp_path):
    data = write_glue(tmp_path / "glue", "rte")
    base = [f"model={make_model(tmp_path)}", f"data={data}", "seeds=1", "epochs=1", "sequence_length=16",
            "check_counts=false", "machine.device=cpu", "search.batch_size=[4,8]"]  # fmt: skip
    done = CliRunner().invoke(app, ["search", "rte", *base, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["rte", "accuracy"] and lines[-2] == f"wrote {tmp_path}/run/results.json"
    assert lines[-1].startswith(f"next: bertsmith export {tmp_path}/run/grid/batch-")
    submit(tmp_path / "run", tmp_path / "out.zip", SubmitSettings(check_counts=False, machine=_cpu()))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert "RTE.tsv" in archive.namelist()


def _cpu():
    from bertsmith.training.machine import MachineSettings

    return MachineSettings(device="cpu")
