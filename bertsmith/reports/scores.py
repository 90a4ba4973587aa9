"""Fine-tuning scores beside published ones, a task at a time; GLUE runs beside published models: an average by each
protocol, then the tasks that they are of."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bertsmith.reports.averages import (
    PROTOCOLS,
    PROTOCOLS_NOTE,
    PUBLISHED,
    PUBLISHED_AVERAGES,
    QUOTED_METRICS,
    published_scores,
    reservations,
    seeds_of,
)
from bertsmith.reports.charts import PUBLISHED_MARKER, Chart, ScoreRow, row_chart, score_chart
from bertsmith.reports.markup import ABSENT, counted, escape, html_list, swatch, table
from bertsmith.reports.runs import Run, measure_title
from bertsmith.storage.results import by_task


def task_scores(runs: Sequence[Run]) -> Iterator[tuple[str, Chart, str, str]]:
    """Yield, for each task with scores, in the order of the runs: a title, the scores as a chart and as HTML beside
    published ones, and every seed's as HTML."""
    scored = [(task, view) for run in runs for task, view in _by_task(run).items()]
    for task in dict.fromkeys(task for task, _ in scored):
        chosen = [view for name, view in scored if name == task]
        # The metric that published scores are quoted in, where our runs have it; else our headline.
        quoted = QUOTED_METRICS.get(task, "")
        metric = quoted if any(quoted in view.summary for view in chosen) else next(iter(chosen[0].summary))
        comparable = [view for view in chosen if metric in view.summary]
        scores = _summary_table(task, metric, comparable) + (PROTOCOLS_NOTE if published_scores(task, metric) else "")
        title = f"{task}: {measure_title(metric)} × 100"
        yield title, score_chart(task, metric, comparable), scores, _seed_table(chosen)


def _by_task(run: Run) -> dict[str, Run]:
    """Return, for each of a run's tasks, the run as if it were of that task alone."""
    views: dict[str, Run] = {}
    for task, summary in by_task(run.summary).items():
        trials = [trial | {"metrics": by_task(trial["metrics"]).get(task, {})} for trial in run.trials]
        title = task or str(run.manifest.get("task") or run.setting("task", "task"))
        views[title.lower()] = replace(run, summary=summary, trials=trials)
    return views


def _summary_table(task: str, metric: str, runs: Sequence[Run]) -> str:
    rows: list[tuple[str, ...]] = []
    classes = []
    for run in runs:
        summary, number = run.summary[metric], len(run.trials)
        spread = f"{100 * summary['mean']:.1f} ± {100 * summary['std']:.1f}" if number > 1 else ABSENT
        start = escape(run.setting("model", ABSENT))
        start += ", weights drawn anew at random" if run.setting("random_weights") else ""
        start += "".join(f", then {escape(task)}" for task in run.manifest.get("learnt_before", []))
        score = f"<strong>{100 * summary['median']:.1f}</strong>"
        scored_on = "official test set" if run.scored_on(task) == "test" else "dev set"
        protocol = f"{scored_on}, {'median of ' * (number > 1)}{counted(number, 'seed')}" + ", chosen there" * bool(
            run.chosen
        )
        protocol += ", learnt with other tasks" * ("tasks" in run.manifest)
        rows.append((swatch(run.color) + escape(run.name), score, spread, start, protocol, ABSENT))
        classes.append("own")
    for row, published in published_scores(task, metric):
        cells = (row.model, f"{published:.1f}", ABSENT, row.pretraining, row.protocol, row.source)
        rows.append(tuple(escape(cell) for cell in cells))
        classes.append("")
    return table(("Model", "Score", "Mean ± std", "Pre-training", "Protocol", "Source"), rows, classes)


def _seed_table(runs: Sequence[Run]) -> str:
    metrics = list(dict.fromkeys(name for run in runs for name in run.summary))
    rows = [
        (
            swatch(run.color) + escape(run.name),
            escape(trial["seed"]),
            *(f"{100 * trial['metrics'][name]:.2f}" if name in trial["metrics"] else ABSENT for name in metrics),
        )
        for run in runs
        for trial in run.trials
    ]
    return table(("Run", "Seed", *(escape(measure_title(name)) for name in metrics)), rows)


ORDER = (*QUOTED_METRICS, "wnli")
"""In which tasks are shown."""


def averages(runs: Sequence[Run]) -> Iterator[tuple[str, str, Chart | None, str]]:
    """Yield, by each protocol, its title and description, and the averages of those runs that have scores as a chart
    (None where none is complete) and a table."""
    scored = [run for run in runs if run.glue["averages"]]
    for name, protocol in PROTOCOLS.items() if scored else ():
        title, _, about = protocol.title.partition(": ")
        yield title, about, _average_chart(name, scored), _average_table(name, scored)


def task_charts(runs: Sequence[Run]) -> list[Chart]:
    """Return a chart a task: the seeds of every run, and published scores where they are quoted in the task's
    metric."""
    charts = []
    for task in _tasks(runs):
        chosen = [_of_task(run, task) for run in runs if task in run.glue["tasks"]]
        if not chosen:
            continue
        metric = QUOTED_METRICS.get(task, next(iter(chosen[0].summary)))
        shown = [view for view in chosen if metric in view.summary]
        charts.append(score_chart(task, metric, shown, f"{task}: {measure_title(metric)}"))
    return charts


def task_table(runs: Sequence[Run]) -> str:
    """Return a table with a line a metric: of each run its median, mean and spread, and published scores in that
    metric."""
    rows = []
    for task in _tasks(runs):
        metrics = dict.fromkeys(
            name for run in runs for name in run.glue["tasks"].get(task, {"summary": {}})["summary"]
        )
        for metric in metrics or [QUOTED_METRICS.get(task, "")]:
            published = {row.model: score for row, score in published_scores(task, metric)}
            rows.append((
                escape(task), escape(measure_title(metric)), *(_cell(run, task, metric) for run in runs),
                *(f"{published[row.model]:.1f}" if row.model in published else ABSENT for row in PUBLISHED),
            ))  # fmt: skip
    head = [
        "Task", "Metric", *(swatch(run.color) + escape(run.name) for run in runs),
        *(f'<span class="name">{escape(row.model)}</span><small>{escape(row.protocol)}</small>' for row in PUBLISHED),
    ]  # fmt: skip
    return table(head, rows)


def seed_table(runs: Sequence[Run]) -> str:
    """Return a table with a line a metric: of each run its seeds' scores; a trial that gave one answer to all is
    marked."""
    rows = []
    for task in _tasks(runs):
        views = [_of_task(run, task) for run in runs]
        for metric in dict.fromkeys(name for view in views for name in view.summary):
            rows.append((escape(task), escape(measure_title(metric)), *(_seeds(view, metric) for view in views)))
    return table(["Task", "Metric", *(swatch(run.color) + escape(run.name) for run in runs)], rows)


def absent_tasks(runs: Sequence[Run]) -> str:
    """List the tasks without scores, and why; empty where none is absent."""
    runs_of: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for task, why in run.glue["absent"].items():
            runs_of.setdefault((task, why), []).append(run.name)
    lines = []
    for (task, why), names in sorted(runs_of.items(), key=lambda item: ORDER.index(item[0][0])):
        which = f" ({escape(', '.join(names))})" if len(names) < len(runs) else ""
        lines.append(f"<strong>{escape(task)}</strong>{which}: {escape(why)}")
    return html_list(lines) if lines else ""


def _tasks(runs: Sequence[Run]) -> list[str]:
    """Return all tasks that any of the runs has, or lists as absent."""
    return [task for task in ORDER if any(task in run.glue["tasks"] or task in run.glue["absent"] for run in runs)]


def _of_task(run: Run, task: str) -> Run:
    """Return the run as if it were of this task alone."""
    row = run.glue["tasks"].get(task, {"trials": [], "summary": {}, "from_mnli": False})
    name = f"{run.name} (from MNLI)" if row["from_mnli"] else run.name
    return replace(run, name=name, trials=row["trials"], summary=row["summary"])


def _cell(run: Run, task: str, metric: str) -> str:
    row = run.glue["tasks"].get(task)
    if row is None:
        return f"<small>{'absent' if task in run.glue['absent'] else 'no scores yet'}</small>"
    if metric not in row["summary"]:
        return ABSENT
    scores, number = row["summary"][metric], len(row["trials"])
    mark = '<span class="mark">from MNLI</span>' if row["from_mnli"] else ""
    spread = f"{100 * scores['mean']:.1f} ± {100 * scores['std']:.1f}, {number} seeds" if number > 1 else "1 seed"
    return f"<strong>{100 * scores['median']:.1f}</strong>{mark}<small>{spread}</small>"


def _seeds(run: Run, metric: str) -> str:
    shown = []
    for trial in run.trials:
        if metric in trial["metrics"]:
            constant = ", nothing learnt" if trial.get("constant") else ""
            shown.append(
                f"<div>{100 * trial['metrics'][metric]:.2f} <small>seed {escape(trial['seed'])}{constant}</small></div>"
            )
    return "".join(shown) or ABSENT


def _average_chart(name: str, runs: Sequence[Run]) -> Chart | None:
    rows = []
    for run in runs:
        found = run.glue["averages"][name]
        if found["average"] is not None:
            score = 100 * found["average"]
            symbol = "diamond" if found["comparable"] else "diamond-open"
            marker = {"color": run.color, "size": 13, "symbol": symbol, "line": {"width": 2, "color": run.color}}
            hint = f"{score:.1f}" if found["comparable"] else f"{score:.1f}, not comparable"
            rows.append(ScoreRow(run.name, score, hint, marker, {}))
    if not rows:
        return None
    for row in PUBLISHED_AVERAGES[name]:
        rows.append(ScoreRow(row.model, row.score, f"{row.score:.1f}, {row.protocol}", PUBLISHED_MARKER, {}))
    return row_chart(rows)


def _average_table(name: str, runs: Sequence[Run]) -> str:
    rows, classes = [], []
    for run in runs:
        found = run.glue["averages"][name]
        score = f"<strong>{100 * found['average']:.1f}</strong>" if found["average"] is not None else ABSENT
        reasons = reservations(found)
        if found["average"] is None and found["mean"] is not None:
            score += f"<small>{100 * found['mean']:.1f} over {found['numbers']} of {found['of']}</small>"
        protocol = f"dev set, median of {seeds_of(run.glue['tasks'])}"
        departs = f'<span class="mark">not comparable</span>{html_list(map(escape, reasons))}' if reasons else "nothing"
        rows.append((swatch(run.color) + escape(run.name), score, escape(protocol), departs))
        classes.append("own")
    for row in PUBLISHED_AVERAGES[name]:
        source = f'<span class="soft">{escape(row.source)}</span>'
        rows.append((escape(row.model), f"{row.score:.1f}", escape(row.protocol), source))
        classes.append("")
    return table(("Model", "Average", "Protocol", "What departs from it, or source"), rows, classes)
