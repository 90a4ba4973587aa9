"""Curves keep what matters when they are thinned, and charts say what was measured."""

from itertools import pairwise

from bertsmith.reports.charts import MAX_POINTS, Chart, curve_charts, score_chart, thinned
from bertsmith.reports.runs import Log, Run


def charts_of(lines: list[dict]) -> dict[str, Chart]:
    run = Run("run", "pretrain", {}, {"objective": {"kind": "rtd"}}, [Log("", lines)], [], {})
    return {chart.title: chart for chart in curve_charts([run])}


def test_a_short_curve_is_drawn_whole():
    assert thinned([3.0, None, 1.0]) == [0, 1, 2]


def test_thinning_keeps_ends_extremes_and_order():
    values = [float(position % 97) for position in range(100_000)]
    values[61_803], values[31_415] = 1e9, -1e9
    kept = thinned(values)
    assert len(kept) <= MAX_POINTS
    assert kept == sorted(set(kept))
    assert {0, 31_415, 61_803, 99_999} <= set(kept)
    assert max(after - before for before, after in pairwise(kept)) < 210


def test_thinning_keeps_gaps():
    values = [1.0] * 50_000 + [None] * 10_000 + [1.0] * 40_000
    kept = thinned(values)
    assert len(kept) <= MAX_POINTS
    assert any(values[position] is None for position in kept)


def test_a_long_run_has_few_points_and_keeps_its_spike():
    lines = [{"split": "train", "step": step, "mlm_loss": 3.0 + step % 7 / 100} for step in range(100_000)]
    lines[70_001]["mlm_loss"] = 11.5
    trace = charts_of(lines)["Generator's masked-token loss, nats"].figure["data"][0]
    assert len(trace["x"]) == len(trace["y"]) <= MAX_POINTS
    assert (70_001, 11.5) in zip(trace["x"], trace["y"], strict=True)


def test_losses_come_first_and_unknown_held_out_measures_have_a_chart():
    head = {"step": 1, "tokens": 2, "seconds": 3600.0}
    charts = charts_of([
        {"split": "train", **head, "learning_rate": 0.1, "skipped_steps": 0, "memory_bytes": 2**30, "rtd_loss": 0.5},
        {"split": "heldout", **head, "word_order_accuracy": 0.6, "blimp": 0.55, "device": "a name", "flag": True},
    ])  # fmt: skip
    assert list(charts) == [
        "Discriminator's loss, nats a token",
        "Word order accuracy",
        "BLiMP accuracy",
        "Learning rate",
        "Memory, GiB",
    ]
    assert charts["Memory, GiB"].figure["data"][0]["y"] == [1.0]
    assert charts["BLiMP accuracy"].figure["layout"]["yaxis"]["tickformat"] == "~p"
    assert charts["Discriminator's loss, nats a token"].axes == {"steps": [[1]], "tokens": [[2]], "hours": [[1.0]]}


def test_scores_have_a_row_each_even_where_a_run_bears_a_published_name():
    trials = [{"seed": seed, "metrics": {"mcc": score}} for seed, score in enumerate((0.4, 0.5, 0.45))]
    run = Run("BERT-Small", "finetune", {}, {}, [], trials, {"mcc": {"median": 0.45}})
    figure = score_chart("cola", "mcc", [run]).figure
    rows = figure["layout"]["yaxis"]["ticktext"]
    assert rows == ["BERT-Small", "BERT-Base", "ELECTRA-Small-OWT", "ELECTRA-Small", "BERT-Small"]
    seeds, median = figure["data"][-2:]
    assert (seeds["x"], seeds["y"]) == ([40.0, 50.0, 45.0], [4, 4, 4])
    assert (median["x"], median["y"], median["text"]) == ([45.0], [4], ["45.0, median"])


def test_a_lone_score_of_zero_has_an_axis_that_begins_there():
    run = Run("run", "finetune", {}, {}, [], [{"seed": 0, "metrics": {"f1": 0.0}}], {"f1": {"median": 0.0}})
    assert score_chart("custom", "f1", [run]).figure["layout"]["xaxis"]["rangemode"] == "tozero"
    assert "rangemode" not in score_chart("mrpc", "accuracy", [run][:0]).figure["layout"]["xaxis"]


def test_what_was_not_finite_is_a_gap():
    lines = [
        {"split": "train", "step": step, "loss": value} for step, value in enumerate([1.0, None, float("nan"), 2.0])
    ]
    charts = charts_of(lines)
    assert charts["Loss"].figure["data"][0]["y"] == [1.0, None, None, 2.0]
    assert list(charts["Loss"].axes) == ["steps"]
