"""The page of GLUE runs: both averages with what departs from them, every task, what is absent and why."""

import json
import re

import plotly.graph_objects
import pytest

from bertsmith.reports.page import write_page
from tests.reports.test_page import HOSTILE, Page

ALL = {
    "cola": {"mcc": [0.5, 0.6, 0.52]}, "sst-2": {"accuracy": [0.9, 0.9, 0.9]},
    "mrpc": {"accuracy": [0.85, 0.86, 0.84], "f1": [0.89, 0.9, 0.88]},
    "sts-b": {"spearman": [0.86, 0.85, 0.87], "pearson": [0.8, 0.8, 0.8]},
    "qqp": {"accuracy": [0.88, 0.88, 0.88], "f1": [0.84, 0.84, 0.84]},
    "mnli": {"accuracy": [0.8, 0.79, 0.78], "accuracy_mismatched": [0.81, 0.8, 0.79]},
    "qnli": {"accuracy": [0.87, 0.87, 0.87]}, "rte": {"accuracy": [0.65, 0.7, 0.6]},
    "wnli": {"accuracy": [0.56, 0.56, 0.56]},
}  # fmt: skip
FEW = {"rte": {"accuracy": [0.65]}, "wnli": {"accuracy": [0.5]}}


@pytest.fixture
def write(tmp_path):
    return lambda *runs: Page(write_page(runs, tmp_path / "report.html"))


def rows_of(page, heading):
    """The cells' texts of the first table below a heading, a list a row; pieces of a cell end to end."""
    html = page.html.split(f"<h3>{heading}</h3>")[1]
    table = re.search(r"<table>(.*?)</table>", html, re.DOTALL)[1]
    return [
        [re.sub(r"<[^>]+>", "|", cell).strip("|") for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
    ]


def test_both_averages_stand_beside_published_ones_with_their_protocols(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "whole", ALL))
    reference = {row[0]: row[1:] for row in rows_of(page, "google-research/electra&#x27;s average")}
    assert reference["whole"] == ["79.0", "dev set, median of 3 seeds", "nothing"]
    assert reference["ELECTRA-Small-OWT"][:2] == ["80.4", "dev set, median of at least 10 seeds"]
    cramming = {row[0]: row[1:] for row in rows_of(page, "Cramming&#x27;s average")}
    assert cramming["whole"][0] == "78.4" and cramming["crammed BERT (C4)"][0] == "78.6"
    assert "8 tasks, CoLA by MCC, STS-B by Spearman" in page.text


def test_what_departs_from_a_protocol_is_said_and_its_mark_is_hollow(write, make_glue, tmp_path):
    departing = make_glue(tmp_path / "other", ALL, from_mnli=("rte",), departures=("epochs are others",))
    page = write(make_glue(tmp_path / "whole", ALL), departing)
    rows = {row[0]: row[1:] for row in rows_of(page, "google-research/electra&#x27;s average")}
    assert rows["other"][2].startswith("not comparable") and "epochs are others" in rows["other"][2]
    assert "started from MNLI&#x27;s model: rte" in rows["other"][2]
    figure = next(iter(page.charts.values()))["figure"]
    symbols = [trace["marker"]["symbol"] for trace in reversed(figure["data"])]
    assert symbols[:2] == ["diamond", "diamond-open"]


def test_an_average_that_lacks_numbers_is_neither_given_nor_drawn(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "few", FEW, absent={"cola": "data/glue: no folder CoLA or cola in it"}))
    rows = {row[0]: row[1:] for row in rows_of(page, "google-research/electra&#x27;s average")}
    assert rows["few"][0].startswith("–") and "65.0 over 1 of 8" in rows["few"][0]
    assert "without cola mcc" in rows["few"][2]
    assert len(page.charts) == len(FEW)
    assert "GLUE, unfinished: 2 tasks have scores" in page.texts


def test_every_metric_of_every_task_has_median_mean_and_spread(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "whole", ALL))
    rows = {tuple(row[:2]): row[2:] for row in rows_of(page, "Every task, × 100")}
    assert len(rows) == 1 + sum(map(len, ALL.values()))
    assert rows["cola", "Matthews correlation"] == ["52.0||54.0 ± 1.0, 3 seeds", "45.0", "56.8", "57.0", "52.1"]
    assert rows["mnli", "Accuracy mismatched"][1:] == ["–"] * 4, "nobody published it in this metric"


def test_each_task_has_a_chart_of_seeds_beside_published_scores(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "whole", ALL))
    charts = [chart["figure"] for chart in list(page.charts.values())[2:]]
    assert len(charts) == len(ALL)
    labels = charts[0]["layout"]["yaxis"]["ticktext"]
    assert labels[-1] == "whole" and {"BERT-Small", "ELECTRA-Small-OWT"} < set(labels)
    dots = [trace for trace in charts[0]["data"] if len(trace["x"]) == 3]
    assert [trace["x"] for trace in dots] == [[50, 60, 52]]
    assert charts[-1]["layout"]["yaxis"]["ticktext"] == ["whole"], "nobody publishes WNLI"
    for figure in charts:
        plotly.graph_objects.Figure(figure)


def test_what_started_from_mnli_is_marked_wherever_it_shows(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "plain", ALL), make_glue(tmp_path / "moved", ALL, from_mnli=("rte",)))
    rows = {tuple(row[:2]): row[2:4] for row in rows_of(page, "Every task, × 100")}
    assert "from MNLI" in rows["rte", "Accuracy"][1] and "from MNLI" not in rows["rte", "Accuracy"][0]
    assert "from MNLI" not in rows["cola", "Matthews correlation"][1]
    labels = [label for chart in page.charts.values() for label in chart["figure"]["layout"]["yaxis"]["ticktext"]]
    assert labels.count("moved (from MNLI)") == 1


def test_absent_tasks_are_told_with_their_reason_and_whose_they_are(write, make_glue, tmp_path):
    whole = make_glue(tmp_path / "whole", ALL)
    page = write(whole, make_glue(tmp_path / "few", FEW, absent={"cola": "data/glue: no folder CoLA or cola in it"}))
    assert " (few): data/glue: no folder CoLA or cola in it" in page.texts
    rows = {tuple(row[:2]): row[2:4] for row in rows_of(page, "Every task, × 100")}
    assert rows["cola", "Matthews correlation"][1] == "absent" and rows["qqp", "F1"][1] == "no scores yet"
    assert "Absent" not in write(whole).texts


def test_every_seed_is_there_and_one_that_learnt_nothing_is_marked(write, make_glue, tmp_path):
    run = make_glue(tmp_path / "whole", ALL)
    (run / "tasks" / "rte" / "trials" / "seed-1" / "results.json").write_text('{"constant": true}')
    seeds = write(run).html.split("Every seed")[1].split("</table>")[0]
    assert "52.00 <small>seed 2</small>" in seeds and "70.00 <small>seed 1, nothing learnt</small>" in seeds


def test_other_kinds_of_runs_stand_on_the_same_page(write, make_glue, pretrain_run, finetune_run, tmp_path):
    page = write(make_glue(tmp_path / "whole", ALL), pretrain_run, finetune_run)
    assert {"Pre-training", "Fine-tuning", "GLUE", "4 min 10 s", "45.6", "79.0"} <= set(page.texts)
    assert page.tags["figure"] == len(page.charts)


def test_settings_say_which_tasks_have_which(write, make_glue, tmp_path):
    page = write(make_glue(tmp_path / "whole", ALL), make_glue(tmp_path / "few", FEW))
    differing = page.text.split("Settings that differ")[1].split("All settings")[0]
    assert "10.0 (rte), 3.0 (wnli)" in differing and "protocol" not in differing


def test_a_run_without_a_score_has_a_page(write, make_glue, tmp_path):
    run = make_glue(tmp_path / "begun", {})
    (run / "results.json").unlink()
    page = write(run)
    assert "begun" in page.texts and not page.charts


def test_hostile_names_stay_text_beside_glue(write, make_glue, tmp_path):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    page = write(
        make_glue(folder, ALL | {"rte": {HOSTILE: [0.5, 0.6]}}, absent={"wnli": HOSTILE}, departures=(HOSTILE,),
                  model=HOSTILE),
        make_glue(tmp_path / "b", FEW),
    )  # fmt: skip
    assert page.tags["script"] == 3 and page.tags["img"] == 0
    assert HOSTILE in page.texts
    assert "<img" not in json.dumps(page.charts)
