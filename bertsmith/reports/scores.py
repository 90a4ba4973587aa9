"""Fine-tuning scores beside published ones, a task at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bertsmith.reports.averages import PROTOCOLS_NOTE, QUOTED_METRICS, published_scores
from bertsmith.reports.charts import Chart, score_chart
from bertsmith.reports.markup import ABSENT, counted, escape, swatch, table
from bertsmith.reports.runs import Run, measure_title
from bertsmith.storage.results import by_task


def task_scores(runs: Sequence[Run]) -> Iterator[tuple[str, Chart, str, str]]:
    """Yield, for each task with scores, in the order of the runs: a title, the scores as a chart and as HTML beside
    published ones, and every seed's as HTML."""
    scored = [(task, view) for run in runs for task, view in _by_task(run).items()]
    for task in dict.fromkeys(task for task, _ in scored):
        chosen = [view for name, view in scored if name == task]
        metric = _shared_metric(task, chosen)
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


def _shared_metric(task: str, runs: Sequence[Run]) -> str:
    """Return the metric that published scores are quoted in, where our runs have it; else our headline."""
    quoted = QUOTED_METRICS.get(task, "")
    return quoted if any(quoted in run.summary for run in runs) else next(iter(runs[0].summary))


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
