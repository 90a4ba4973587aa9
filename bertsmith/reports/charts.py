"""Measures by step, and scores, as charts: plain plotly figures, coloured so that they read on white and on black."""

import html
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from bertsmith.reports.averages import published_scores
from bertsmith.reports.runs import COLORS, SHARES, Log, Run, measure_title
from bertsmith.storage.results import task_and_metric
from bertsmith.training.metrics import DEVIATION

MAX_POINTS = 2000
"""Of a curve. A browser draws a page of twenty such curves at once."""

DASHES = ("solid", "dot", "dash", "dashdot", "longdash")

PUBLISHED_MARKER = {"color": "#8b919b", "size": 12, "symbol": "diamond-open", "line": {"width": 2}}

TRAILING = ("learning_rate", "tokens_per_second", "gradient_norm", "mfu", "memory_bytes")
"""Charted after the losses and after whatever else was measured, in this order."""

FROM_ZERO = ("tokens_per_second", "mfu", "memory_bytes")
"""Steady while all is well: drawn from zero, lest noise look like news."""

NO_MEASURE = ("split", "step", "tokens", "seconds")

AXES = {"steps": ("step", 1), "tokens": ("tokens", 1), "hours": ("seconds", 3600)}
"""Horizontal axis → key in a line of metrics, and its divisor."""


class Chart(NamedTuple):
    """A titled figure; `axes` holds each curve's values on every horizontal axis on offer."""

    title: str
    figure: dict[str, Any]
    axes: dict[str, list[list[float | None]]]
    height: int
    """In pixels."""


class Curve(NamedTuple):
    """One measure of one log."""

    label: str
    style: dict[str, str]
    """Colour and dash."""
    split: str
    lines: list[dict[str, Any]]
    values: list[float | None]


class ScoreRow(NamedTuple):
    """One model's score, in hundredths."""

    label: str
    score: float
    hint: str
    """Shown when its mark is pointed at."""
    marker: dict[str, Any]
    """Plotly's."""
    seeds: dict[str, float]
    """Text → the score of a seed."""


def curve_styles(runs: Sequence[Run], single: bool) -> list[tuple[str, dict[str, str]]]:
    """Return label, colour and dash of each log's curves.

    The seeds of a `single` run of a page have a colour each; beside other runs a dash each, in their run's colour.
    """
    styles = []
    for run in runs:
        for number, log in enumerate(run.logs):
            name = " · ".join(part for part in ("" if single and log.label else run.name, log.label) if part)
            color = COLORS[number % len(COLORS)] if single else run.color
            dash = DASHES[(number // len(COLORS) if single else number) % len(DASHES)]
            styles.append((name, {"color": color, "dash": dash}))
    return styles


def curve_charts(runs: Sequence[Run], single: bool = False) -> list[Chart]:
    """Return a chart for each measure that any of the runs has; `single` as in `curve_styles`.

    Losses come first; training and held-out are drawn together.
    """
    styles = (style for _, style in curve_styles(runs, single))
    logs = [(run, log, next(styles)) for run in runs for log in run.logs]
    charts = []
    for measure in _measures(logs):
        curves = [curve for run, log, style in logs for curve in _curves(run, log, style, measure)]
        if curves:
            measured = [run for run, log, _ in logs if any(measure in line for line in log.lines)]
            charts.append(_curve_chart(measure_title(measure, measured), measure, curves))
    return charts


def score_chart(task: str, metric: str, runs: Sequence[Run], title: str = "") -> Chart:
    """Return a chart with a line for each run, a dot for each seed and a diamond at the median, and a line for each
    published score."""
    rows = []
    for run in runs:
        median = 100 * run.summary[metric]["median"]
        scores = {trial["seed"]: 100 * trial["metrics"][metric] for trial in run.trials if metric in trial["metrics"]}
        seeds = {f"{score:.1f}, seed {seed}": score for seed, score in scores.items()}
        diamond = {"color": run.color, "size": 13, "symbol": "diamond"}
        rows.append(ScoreRow(run.name, median, f"{median:.1f}, median", diamond, seeds))
    for row, value in published_scores(task, metric):
        rows.append(ScoreRow(row.model, value, f"{value:.1f}, {row.protocol}", PUBLISHED_MARKER, {}))
    return row_chart(rows, title)


def row_chart(rows: Sequence[ScoreRow], title: str = "") -> Chart:
    """Return a chart with each score on a line of its own, from the top to the bottom."""
    traces: list[dict[str, Any]] = []
    for height, row in enumerate(reversed(rows)):
        if row.seeds:
            faint = {"color": row.marker["color"], "size": 9, "opacity": 0.45}
            traces.append(_markers(height, row.seeds, faint))
        traces.append(_markers(height, {_chart_text(row.hint, 120): row.score}, row.marker))
    layout = _layout("") | {"hovermode": "closest"}
    layout["yaxis"] |= {
        "tickvals": list(range(len(rows))), "ticktext": [_chart_text(row.label) for row in reversed(rows)],
        "range": [-0.6, len(rows) - 0.4],
        "ticks": "outside", "ticklen": 10, "tickcolor": "rgba(0,0,0,0)",  # a mark at the axis is beside its label
    }  # fmt: skip
    if len({score for trace in traces for score in trace["x"]}) == 1:
        layout["xaxis"]["rangemode"] = "tozero"  # else a lone score of 0 has an axis from -1 to 1
    return Chart(title, {"data": traces, "layout": layout}, {}, 70 + 34 * len(rows))


def thinned(values: Sequence[float | None], max_points: int = MAX_POINTS) -> list[int]:
    """Return positions of at most `max_points` values: the first, the last, and the lowest and highest of every stretch
    between.

    Spikes stay. None is a gap in the curve; a stretch of nothing else keeps one.
    """
    if len(values) <= max_points:
        return list(range(len(values)))
    stretches = (max_points - 2) // 2
    kept = {0, len(values) - 1}
    for number in range(stretches):
        begin, end = (len(values) * bound // stretches for bound in (number, number + 1))
        known = [(value, position) for position in range(begin, end) if (value := values[position]) is not None]
        if known:
            kept |= {min(known)[1], max(known, key=lambda pair: pair[0])[1]}
        else:
            kept.add(begin)
    return sorted(kept)


def _measures(logs: Sequence[tuple[Run, Log, dict[str, str]]]) -> list[str]:
    names = dict.fromkeys(
        name for _, log, _ in logs for line in log.lines for name, value in line.items() if _is_number(value)
    )
    in_others = {name for _, log, _ in logs for line in log.lines for name in _of_corpora(line)}
    found = [name for name in names if name not in {*NO_MEASURE, *in_others} and not _is_deviation(name, names)]
    losses = [name for name in found if name.endswith("loss")]
    others = [name for name in found if name not in losses and name not in TRAILING]
    return losses + others + [name for name in TRAILING if name in names]


def _is_deviation(name: str, names: Collection[str]) -> bool:
    """Return whether a measure is the deviation of another, which is drawn with it."""
    return name.endswith(DEVIATION) and name.removesuffix(DEVIATION) in names


def _of_corpora(line: dict[str, Any], measure: str | None = None) -> dict[str, str]:
    """Return the measures of single corpora in a held-out line, of any or of this `measure`, and the corpus of each; a
    chart has them beside that of all text."""
    if line["split"] != "heldout":
        return {}
    pairs = {name: task_and_metric(name) for name in line}
    return {name: of for name, (of, metric) in pairs.items() if of and metric in line and measure in (None, metric)}


def _curves(run: Run, log: Log, style: dict[str, str], measure: str) -> Iterator[Curve]:
    corpora = {name: corpus for line in log.lines for name, corpus in _of_corpora(line, measure).items()}
    apart = [("heldout", name, corpus) for name, corpus in corpora.items()]
    for number, (split, name, corpus) in enumerate([("train", measure, ""), ("heldout", measure, ""), *apart]):
        lines = [line for line in log.lines if line["split"] == split and name in line]
        values = [line[name] if _is_number(line[name]) else None for line in lines]
        if not any(values):
            continue  # nothing but zeros and gaps, such as skipped steps of a run that skipped none
        if measure == "memory_bytes":
            values = [value and value / 2**30 for value in values]
        kept = thinned(values)
        parts = (run.name, log.label, "held-out" if split == "heldout" else "", corpus)
        label = " · ".join(part for part in parts if part)
        own_style = style | ({"dash": DASHES[(number - 1) % len(DASHES)]} if corpus else {})
        yield Curve(label, own_style, split, [lines[at] for at in kept], [_rounded(values[at]) for at in kept])


def _curve_chart(heading: str, measure: str, curves: Sequence[Curve]) -> Chart:
    axes = {}
    for name, (key, divisor) in AXES.items():
        if all(_is_number(line.get(key)) for curve in curves for line in curve.lines):
            axes[name] = [[_rounded(line[key] / divisor) for line in curve.lines] for curve in curves]
    traces: list[dict[str, Any]] = []
    faint = any(curve.split == "heldout" for curve in curves)
    for curve in curves:
        few = curve.split == "heldout" or len(curve.values) < 3
        traces.append({
            "type": "scatter", "mode": "lines+markers" if few else "lines", "name": _chart_text(curve.label),
            "y": curve.values, "line": {**curve.style, "width": 2 if few else 1.4},
            "marker": {"size": 5 if len(curve.values) > 1 else 9},
            "opacity": 0.5 if faint and not few else 1, "hovertemplate": "%{y:.4~g}",
        })  # fmt: skip
        deviations = [line.get(f"{measure}{DEVIATION}") for line in curve.lines]
        if any(map(_is_number, deviations)):
            traces[-1]["error_y"] = {"type": "data", "array": deviations, "thickness": 1, "width": 3}
    for trace, positions in zip(traces, axes["steps"], strict=True):
        trace["x"] = positions
    layout = _layout("steps")
    if measure.endswith("_perplexity"):
        layout["yaxis"]["type"] = "log"
    if len({position for positions in axes["steps"] for position in positions}) == 1:
        layout["xaxis"]["rangemode"] = "tozero"  # else a lone point has an axis from one below it to one above
    if len({value for curve in curves for value in curve.values}) == 1:
        layout["yaxis"] |= {"rangemode": "tozero", "type": "linear"}
    if measure == "learning_rate":
        layout["yaxis"]["exponentformat"] = "power"
    if measure in FROM_ZERO:
        layout["yaxis"]["rangemode"] = "tozero"
    if measure.endswith(("_accuracy", "_share", "blimp", "mfu")) or task_and_metric(measure)[1] in SHARES:
        layout["yaxis"]["tickformat"] = "~p"
        for trace in traces:
            trace["hovertemplate"] = "%{y:.1%}"
    return Chart(heading, {"data": traces, "layout": layout}, axes, 300)


def _markers(row: int, scores: dict[str, float], marker: dict[str, Any]) -> dict[str, Any]:
    """Return the trace of scores on a row of the chart, by the text shown when pointed at."""
    return {
        "type": "scatter", "mode": "markers", "x": [_rounded(score) for score in scores.values()],
        "y": [row] * len(scores), "text": list(scores), "hovertemplate": "%{text}<extra></extra>", "marker": marker,
        "cliponaxis": False,
    }  # fmt: skip


def _layout(horizontal: str) -> dict[str, Any]:
    """Return the common layout. Colours of text and lines are in the style sheet, which follows the browser's dark
    mode."""
    return {
        "margin": {"l": 52, "r": 14, "t": 10, "b": 42},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "showlegend": False,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": horizontal, "standoff": 8}, "zeroline": False, "nticks": 6},
        "yaxis": {"automargin": True, "zeroline": False, "nticks": 6},
    }


def _chart_text(text: str, longest: int = 40) -> str:
    """Escape text for plotly, which reads some HTML in its labels; long text is cut in the middle."""
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-(longest // 2) :]}"
    return html.escape(text, quote=False)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != float("inf") and value == value
    )


def _rounded(value: float | None) -> float | None:
    """Round to six digits: as much as a screen can show, in half the bytes."""
    return None if value is None else float(f"{value:.6g}")
