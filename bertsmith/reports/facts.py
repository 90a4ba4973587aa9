"""A run's data, model, training and speed as rows of a table, and its headline figures."""

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from bertsmith.console.progress import format_count, format_seconds
from bertsmith.reports.averages import seeds_of
from bertsmith.reports.charts import NO_MEASURE
from bertsmith.reports.markup import counted
from bertsmith.reports.runs import Run, measure_title
from bertsmith.storage.results import by_task, cautions_of, flat_names
from bertsmith.training.metrics import with_deviations


class Figure(NamedTuple):
    """A headline figure."""

    value: str
    label: str


def facts(run: Run) -> dict[str, str]:
    """Return a run's facts as names and plain text, in the order to show; what the run does not say is left out."""
    rows = {"pretrain": _pretraining, "finetune": _fine_tuning, "glue": _glue}[run.verb](run)
    environment = run.manifest.get("environment", {})
    rows["Machine"] = environment.get("machine", "")
    versions = {"bertsmith": run.manifest.get("bertsmith_version"), **environment}
    named = [f"{name} {versions[name]}" for name in ("bertsmith", "torch", "python") if versions.get(name)]
    rows["Software"] = ", ".join(named)
    return {name: str(value) for name, value in rows.items() if value}


def headline(run: Run) -> list[Figure]:
    """Return a few figures on how the run went; of several tasks each one's first metric."""
    if run.verb == "pretrain":
        rate = _amount(_median(run, "tokens_per_second"), "tokens/s, median")
        figures = [_quality(run), _amount(run.last("tokens"), "tokens"), _duration(run), rate]
    elif run.verb == "glue":
        figures = [*_averages(run), _number(len(run.glue["tasks"]), "task"), _duration(run)]
    else:
        several = len(run.trials) > 1
        scores = flat_names({task: dict(list(rows.items())[:1]) for task, rows in by_task(run.summary).items()})
        task = "" if "tasks" in run.manifest else run.manifest.get("task") or run.setting("task", "")
        titles = {name: measure_title(f"{task}.{name}" if task else name) for name in scores}
        figures = [
            Figure(f"{100 * row['median']:.1f}", titles[name] + ", median" * several) for name, row in scores.items()
        ]
        if several and len(scores) == 1:
            figures.append(Figure(f"{100 * next(iter(scores.values()))['std']:.1f}", "standard deviation"))
        figures += [_number(len(run.trials), "seed"), _duration(run)]
    return [figure for figure in figures if figure]


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return what prevents comparing measures of these runs, which are of one verb."""
    said = []
    if runs[0].verb == "pretrain":
        if len({run.vocabulary for run in runs if run.vocabulary}) > 1:
            said.append("These runs have different vocabularies, so a loss a token or a perplexity of one does not "
                        "compare with another's: their tokens are not the same.")  # fmt: skip
        elif len({run.manifest.get("data", {}).get("hash") for run in runs} - {None}) > 1:
            said.append("These runs were trained and measured on different data, so their held-out measures compare "
                        "only as far as the texts are alike.")  # fmt: skip
    if runs[0].verb == "finetune":
        dev_sets: dict[str, set[str]] = {}
        for run in runs:
            found = run.manifest.get("identity", {}).get("data")
            if isinstance(found, list) and len(found) == 2:  # with the fingerprint of its dev set
                task = str(run.manifest.get("task") or run.setting("task", ""))
                dev_sets.setdefault(task, set()).add(str(found[1]))
        said += [
            f"{task}: these runs were scored on different dev sets, so their scores do not compare."
            for task, fingerprints in dev_sets.items()
            if len(fingerprints) > 1
        ]
    return said


def state(run: Run) -> str:
    """Return whether the run is finished, and how far it is if not."""
    if run.manifest.get("finished"):
        return "finished"
    if run.verb == "finetune":
        return f"unfinished: {len(run.trials)} of {run.setting('seeds', 'its')} seeds"
    if run.verb == "glue":
        return f"unfinished: {len(run.glue['tasks'])} tasks have scores"
    steps = run.setting("plan.steps")
    return f"unfinished: step {run.step:,}" + (f" of {steps:,}" if steps else "")


def _pretraining(run: Run) -> dict[str, Any]:
    data = run.manifest.get("data", {})
    tokens = data.get("tokens", {})
    rate, share = _median(run, "tokens_per_second"), _median(run, "mfu")
    return {
        "State": state(run),
        "Data": data.get("path") or run.setting("data"),
        "Training text": _joined(_count(data.get("documents"), "documents"), _count(tokens.get("train"), "tokens")),
        "Held-out text": _count(tokens.get("heldout"), "tokens"),
        "Vocabulary": _count(run.manifest.get("vocab_size"), "word pieces", exact=True),
        "Encoder": _encoder(run.setting("model", {})),
        "Batch": _batches(run),
        "Plan": _plan(run.setting("plan", {})),
        "Done": _joined(_count(run.step, "steps", exact=True), _count(run.last("tokens"), "tokens"), _seconds(run)),
        "Throughput": _joined(_count(rate, "tokens/s"), f"{share:.0%} of the measured peak" if share else ""),
        "Held-out measures": _measures(run),
        "Skipped steps": _count(run.last("skipped_steps"), "whose gradients were not finite", exact=True),
    }  # fmt: skip


def _batches(run: Run) -> str:
    """Return rows and their length, stage by stage; empty where the recipe lacks a number of them."""
    last = {"batch_size": run.setting("batch_size"), "length": run.setting("rows.length"), "tokens": 0}
    stages = run.setting("stages", [])
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        return ""
    found = [*({**last, "tokens": None, **stage} for stage in stages), last]
    if not all(isinstance(stage[name], int) for stage in found for name in last):
        return ""
    return ", then ".join(
        f"{stage['batch_size']:,} rows of {stage['length']:,} tokens"
        + (f" for {format_count(stage['tokens'])} tokens" if stage["tokens"] else "")
        for stage in found
    )


def _fine_tuning(run: Run) -> dict[str, Any]:
    examples = run.manifest.get("examples", {})
    counts = [_count(number, f"in {_split(run, split)}", exact=True) for split, number in examples.items()]
    warnings = [f"seed {trial['seed']}: {caution}" for trial in run.trials for caution in cautions_of(trial)]
    epochs, rate = run.setting("epochs"), run.setting("schedule.learning_rate")
    scores = [
        f"{measure_title(name)} {100 * row['median']:.1f}"
        + (f" (mean {100 * row['mean']:.1f} ± {100 * row['std']:.1f})" if len(run.trials) > 1 else "")
        for name, row in run.summary.items()
    ]
    return {
        "State": state(run),
        "Task": ", ".join(run.manifest.get("tasks", {})) or run.manifest.get("task") or run.setting("task"),
        "Started from": _start(run),
        "Learnt before": ", ".join(run.manifest.get("learnt_before", [])),
        "Data": run.setting("data"),
        "Examples": _joined(*counts),
        "Encoder": _encoder(run.manifest.get("encoder", {})),
        "Training": _joined(
            f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'}" if epochs else "",
            _count(run.setting("batch_size"), "examples a step", exact=True),
            f"learning rate {rate:g}" if rate else "",
        ),
        "Scores": "\n".join(scores),
        "Seeds": str(len(run.trials)),
        "Chosen": run.chosen,
        "Warnings": "\n".join(warnings),
        "Time": _seconds(run),
    }  # fmt: skip


def _start(run: Run) -> str:
    return _joined(run.setting("model"), "its weights drawn anew at random" if run.setting("random_weights") else "")


def _split(run: Run, split: str) -> str:
    """Return a split's title, "dev" being the scored one."""
    if split != "dev":
        return split
    tested = [task for task in run.manifest.get("tasks", {}) if run.scored_on(task) == "test"]
    if tested:
        return f"dev (of {', '.join(tested)} in the official test file)"
    return "the official test file, which is what is scored" if run.scored_on() == "test" else split


def _glue(run: Run) -> dict[str, Any]:
    tasks, absent = run.glue["tasks"], run.glue["absent"]
    transferred = [task for task, row in tasks.items() if row["from_mnli"]]
    return {
        "State": state(run),
        "Tasks": _joined(f"{len(tasks)} with scores", f"{len(absent)} absent" if absent else ""),
        "Started from": _start(run),
        "Started from a model of MNLI": ", ".join(transferred),
        "Data": run.setting("data"),
        "Hyper-parameters": _hyperparameters(run),
        "Seeds": seeds_of(tasks),
        "Time": _seconds(run),
    }  # fmt: skip


def _hyperparameters(run: Run) -> str:
    """Return the protocol's name and the settings that depart from it."""
    protocol = run.setting("protocol", "")
    named = {"reference": "each task's shipped recipe", "cramming": "Cramming's one set"}.get(protocol, "")
    found = run.glue["averages"].get(protocol, {})
    return "; ".join([named, *found.get("departures", [])]) if named else ""


def _averages(run: Run) -> list[Figure]:
    titles = {"reference": "reference's average", "cramming": "Cramming's average"}
    return [
        Figure(f"{100 * found['average']:.1f}", titles.get(name, name))
        for name, found in run.glue["averages"].items()
        if found["average"] is not None
    ]


def _encoder(model: dict[str, Any]) -> str:
    layers, hidden, embedding = map(model.get, ("num_hidden_layers", "hidden_size", "embedding_size"))
    if not layers or not hidden:
        return ""
    narrow = embedding and embedding != hidden
    return f"{layers} layers × {hidden}" + (f", embedding {embedding}" if narrow else "")


def _plan(plan: dict[str, Any]) -> str:
    if hours := plan.get("hours"):
        return f"{hours:g} hours"
    return _count(plan.get("steps"), "steps", exact=True) or _count(plan.get("tokens"), "tokens")


def _measures(run: Run) -> str:
    lines = [line for log in run.logs for line in log.lines if line["split"] == "heldout"]
    if not lines:
        return ""
    measures = {name: value for name, value in lines[-1].items() if name not in NO_MEASURE}
    return "\n".join(
        f"{_uncapitalised(measure_title(name, [run]))}: {text}" for name, text in with_deviations(measures).items()
    )


def _uncapitalised(text: str) -> str:
    return text if text[:2].isupper() else f"{text[:1].lower()}{text[1:]}"


def _quality(run: Run) -> Figure | None:
    for name in run.objective.perplexities if run.objective else ():
        measure = name.replace("_loss", "_perplexity")
        perplexity, loss = run.last(measure, "heldout"), run.last(name)
        if perplexity is not None:
            return Figure(f"{perplexity:,.1f}", f"held-out {_uncapitalised(measure_title(measure, [run]))}")
        if loss is not None:
            return Figure(f"{loss:.2f}", "training loss")
    return None


def _number(number: int, noun: str) -> Figure:
    return Figure(*counted(number, noun).split(" "))


def _amount(number: float | None, label: str) -> Figure | None:
    return Figure(format_count(number), label) if number else None


def _duration(run: Run) -> Figure | None:
    seconds = _seconds(run)
    return Figure(seconds, "training") if seconds else None


def _seconds(run: Run) -> str:
    """Return the time in training, over all trials."""
    lasts = [line["seconds"] for log in run.logs for line in log.lines[-1:] if line.get("seconds")]
    return format_seconds(sum(lasts)) if lasts else ""


def _median(run: Run, name: str) -> float | None:
    values = run.values(name)
    return median(values) if values else None


def _count(number: float | None, noun: str, exact: bool = False) -> str:
    if not number:
        return ""
    return f"{number:,} {noun}" if exact else f"{format_count(number)} {noun}"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
