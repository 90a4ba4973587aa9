"""The run page: what was trained on what, its curves, its scores beside published ones, its settings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bertsmith import __version__
from bertsmith.reports.averages import PROTOCOLS_NOTE
from bertsmith.reports.charts import MAX_POINTS, Chart, curve_charts, curve_styles
from bertsmith.reports.facts import cautions, facts, headline, state
from bertsmith.reports.markup import ABSENT, embedded_json, escape, frame, swatch, table, text_lines
from bertsmith.reports.runs import VERBS, Run, read_runs
from bertsmith.reports.scores import absent_tasks, averages, seed_table, task_charts, task_scores, task_table
from bertsmith.storage.file_types import PAGE_FILE, check_output
from bertsmith.storage.files import make_folder, write_text
from bertsmith.storage.folders import no_empty_folder

VERB_TITLES = {"pretrain": "Pre-training", "finetune": "Fine-tuning", "glue": "GLUE"}


@no_empty_folder
def write_page(runs: Sequence[Path], out: Path, about: Sequence[str] = ()) -> Path:
    """Write one HTML page about these run folders, which may be unfinished, side by side; returns `out`. What is said
    `about` them, a paragraph each, stands at its head.

    The page carries all that it shows, plotly.js (4.8 MB) included, and fetches nothing.

    Raises:
        UserError: a folder is not a run's or is damaged; `out` cannot be written, or is a file that is no such page.
    """
    from plotly.offline import get_plotlyjs

    check_output(out, PAGE_FILE)
    read = read_runs(runs)
    page = _Page(read, about)
    body = page.body()
    make_folder(out.resolve().parent)
    write_text(out, frame(_title(read), body, embedded_json(page.charts), get_plotlyjs()))
    return out


TASKS_NOTE = "Large: the median over the seeds; small: mean ± standard deviation. "

FROM_MNLI_NOTE = "From MNLI: the model had learnt MNLI before, which the published scores beside it had not. "

SEEDS_NOTE = (
    "A dot is a seed, a filled diamond their median, an open one a published score; point at one for its protocol. "
    "The curves of a task are on its own page: <code>bertsmith report RUN/tasks/TASK</code>."
)


class _Page:
    """Puts the body together and, on the way, collects its charts by the ids of their elements."""

    def __init__(self, runs: Sequence[Run], about: Sequence[str]):
        self.about = about
        self.runs, self.is_single = runs, len(runs) == 1
        self.charts: dict[str, Any] = {}

    def body(self) -> str:
        parts = [f'<p class="maker">bertsmith {__version__}</p>', f"<h1>{_title(self.runs)}</h1>"]
        parts += [f"<p>{escape(paragraph)}</p>" for paragraph in self.about]
        parts.append(self._cards())
        parts += ["<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>"]
        for verb in VERBS:
            if chosen := [run for run in self.runs if run.verb == verb]:
                parts += self._section(verb, chosen)
        return "\n".join(parts)

    def _cards(self) -> str:
        cards = []
        for run in self.runs:
            figures = "".join(
                f"<div><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}</dd></div>" for figure in headline(run)
            )
            name = f"<h3>{swatch(run.color)}{escape(run.name)}</h3>" if not self.is_single else ""
            line = f"<p>{VERB_TITLES[run.verb]}, {escape(state(run))}{', chosen by the search' * bool(run.chosen)}</p>"
            cards.append(f'<div class="card">{name}{line}<dl>{figures}</dl></div>')
        return f'<div class="cards">{"".join(cards)}</div>'

    def _section(self, verb: str, runs: Sequence[Run]) -> Iterator[str]:
        yield f"<section><h2>{VERB_TITLES[verb]}</h2>"
        yield _side_by_side({run.name: facts(run) for run in runs}, runs)
        yield from (f'<p class="note caution">{escape(line)}</p>' for line in cautions(runs))
        if verb == "glue":
            yield from self._averages(runs)
            yield from self._tasks(runs)
        else:
            yield from self._scores(runs)
            yield from self._curves(runs)
        yield from _settings(runs)
        yield "</section>"

    def _scores(self, runs: Sequence[Run]) -> Iterator[str]:
        for title, chart, scores, seeds in task_scores(runs):
            yield f'<div class="scores"><h3>{escape(title)}</h3>'
            yield self._figure(chart)
            yield f"{scores}<details><summary>Every seed</summary>{seeds}</details></div>"

    def _averages(self, runs: Sequence[Run]) -> Iterator[str]:
        for title, about, chart, rows in averages(runs):
            yield f'<div class="averages"><h3>{escape(title)}</h3><p class="note">{escape(about)}</p>'
            if chart is not None:
                yield self._figure(chart)
            yield f"{rows}</div>"

    def _tasks(self, runs: Sequence[Run]) -> Iterator[str]:
        transferred = any(row["from_mnli"] for run in runs for row in run.glue["tasks"].values())
        yield f'<h3>Every task, × 100</h3><div class="tasks">{task_table(runs)}</div>'
        yield f'<p class="note">{TASKS_NOTE}{FROM_MNLI_NOTE if transferred else ""}</p>{PROTOCOLS_NOTE}'
        absent = absent_tasks(runs)
        if absent:
            yield f'<h3>Absent</h3><div class="note">{absent}</div>'
        charts = task_charts(runs)
        if charts:
            yield f'<h3>Seeds</h3><p class="note">{SEEDS_NOTE}</p><div class="charts">'
            for chart in charts:
                yield self._figure(chart)
            yield f'</div><details><summary>Every seed</summary><div class="tasks">{seed_table(runs)}</div></details>'

    def _curves(self, runs: Sequence[Run]) -> Iterator[str]:
        charts = curve_charts(runs, self.is_single)
        if not charts:
            yield '<p class="note">Nothing measured yet.</p>'
            return
        yield "<h3>Curves</h3>"
        # The seeds of the only run of a page; else the runs.
        legend = curve_styles(runs, True) if self.is_single else [(run.name, {"color": run.color}) for run in runs]
        names = "".join(f"<span>{swatch(style['color'])}{escape(name)}</span>" for name, style in legend)
        if any(line["split"] == "heldout" for run in runs for log in run.logs for line in log.lines):
            names += "<span>line: training</span><span>line with dots: held-out</span>"
        yield f'<div class="legend">{names}</div>'
        yield f'<div class="curves">{_axis_choice(charts)}<div class="charts">'
        for chart in charts:
            yield self._figure(chart)
        yield "</div></div>"
        yield (
            f'<p class="note">Of a curve with more than {MAX_POINTS:,} points the lowest and the highest of every '
            f"stretch are drawn, so spikes stay. Drag over a chart to enlarge, double-click to return.</p>"
        )

    def _figure(self, chart: Chart) -> str:
        identifier = f"chart-{len(self.charts) + 1}"
        self.charts[identifier] = {"figure": chart.figure, "axes": chart.axes}
        caption = f"<figcaption>{escape(chart.title)}</figcaption>" if chart.title else ""
        plot = f'<div class="plot" id="{identifier}" style="height:{chart.height}px"></div>'
        return f"<figure>{caption}{plot}</figure>"


def _title(runs: Sequence[Run]) -> str:
    return escape(runs[0].name) if len(runs) == 1 else f"{len(runs)} runs side by side"


def _axis_choice(charts: Sequence[Chart]) -> str:
    """Return buttons for the horizontal axes that every chart has; none where there is no choice."""
    axes = [name for name in charts[0].axes if all(name in chart.axes for chart in charts)]
    if len(axes) < 2:
        return ""
    # Without autocomplete=off Firefox keeps a choice over a reload, and the charts would not agree with it.
    buttons = "".join(
        f'<label><input type="radio" name="axis" value="{axis}" autocomplete="off"'
        f"{' checked' if axis == 'steps' else ''}>{axis}</label>"
        for axis in axes
    )
    return f'<form class="axis"><span>against</span>{buttons}</form>'


def _settings(runs: Sequence[Run]) -> Iterator[str]:
    """Yield all settings, closed; of several runs, those that differ before them, open."""
    flat = {run.name: dict(_flattened(run.recipe)) for run in runs}
    keys = list(dict.fromkeys(key for settings in flat.values() for key in settings))
    differing = [key for key in keys if len({settings.get(key) for settings in flat.values()}) > 1]
    if differing:
        yield "<h3>Settings that differ</h3>"
        yield _side_by_side(
            {name: {key: settings[key] for key in differing if key in settings} for name, settings in flat.items()},
            runs,
        )
    if keys:
        yield "<details><summary>All settings</summary>"
        yield f"{_side_by_side(flat, runs, differing)}</details>"


def _flattened(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value).lower() if isinstance(value, bool) else str(value)


def _side_by_side(columns: dict[str, dict[str, str]], runs: Sequence[Run], marked: Sequence[str] = ()) -> str:
    """Return a table with a column for each run's name → {row: value}, and a line for each row that any of them has."""
    keys = list(dict.fromkeys(key for rows in columns.values() for key in rows))
    head = ["", *(swatch(run.color) + escape(run.name) for run in runs)] if len(runs) > 1 else []
    rows = [[escape(key), *(text_lines(columns[run.name].get(key, ABSENT)) for run in runs)] for key in keys]
    return table(head, rows, ["differs" if key in marked else "" for key in keys])
