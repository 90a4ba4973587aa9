"""results.json of a trial, a fine-tuning run, a search and a GLUE run: read, with the shape that readers rely on."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import check_shape, read_json

PerMetric = TypeVar("PerMetric")

_NUMBER = (int, float)
_METRICS = {str: _NUMBER}
_TRIALS = [{"seed": int, "metrics": _METRICS}]
_SUMMARY = {str: {"median": _NUMBER, "mean": _NUMBER, "std?": (int, float, type(None))}}
_RUN = {"task?": str, "trials": _TRIALS, "summary": _SUMMARY}
_TRIAL = {
    "seed?": int, "metrics?": _METRICS, "constant?": bool, "cautions?": [str], "steps?": int, "tokens?": int,
    "seconds?": _NUMBER,
    "early_stopping?": {"held_out?": int, "metric": str, "score": _NUMBER, "step": int},
}  # fmt: skip
_AVERAGE = {
    "average": (int, float, type(None)), "mean": (int, float, type(None)), "comparable": bool, "numbers": int,
    "of": int, "missing": [str], "from_mnli": [str], "departures": [str],
}  # fmt: skip
_GLUE = {
    "tasks": {str: {"from_mnli": bool, "trials": _TRIALS, "summary": _SUMMARY}},
    "absent": {str: str},
    "averages": {"reference?": _AVERAGE, "cramming?": _AVERAGE},
}
_SEARCH = {
    "task?": str, "metric": str, "chosen": str, "chosen_by": str,
    "grid": {str: {"settings?": dict, "trials": _TRIALS, "summary": _SUMMARY}},
}  # fmt: skip


AVERAGED = "averaged_"
"""Before the name of a measure: of the moving average of a run's weights."""


def flat_names(nested: Mapping[str, Mapping[str, PerMetric]]) -> dict[str, PerMetric]:
    """Return values by task and metric under the names in results.json: "TASK.METRIC", or "METRIC" of the task ""."""
    pairs = ((task, metric) for task, metrics in nested.items() for metric in metrics)
    return {f"{task}.{metric}" if task else metric: nested[task][metric] for task, metric in pairs}


def task_and_metric(name: str) -> tuple[str, str]:
    """Return the task and the metric of a flat name. A task's name may have points in it, a metric's has none."""
    task, _, metric = name.rpartition(".")
    return task, metric


def by_task(flat: Mapping[str, PerMetric]) -> dict[str, dict[str, PerMetric]]:
    """Return values under flat names by task and metric."""
    nested: dict[str, dict[str, PerMetric]] = {}
    for name, value in flat.items():
        task, metric = task_and_metric(name)
        nested.setdefault(task, {})[metric] = value
    return nested


def cautions_of(trial: Mapping[str, Any]) -> list[str]:
    """Return a trial's cautions; results of earlier versions have only the one that all predictions are the same."""
    return trial.get("cautions", ["every dev prediction is the same"] if trial.get("constant") else [])


def read_run_results(path: Path, metrics: Collection[str] = ()) -> dict[str, Any]:
    """Return the results of a fine-tuning run, whose trials have these `metrics` and all that are summarized; raises
    UserError where there are none, or the file is damaged."""
    results = _read(path, _RUN)
    _check_trials(results, path, metrics)
    return results


def read_search_results(path: Path) -> dict[str, Any]:
    """Return the results of a search, in which the chosen combination is one of the grid and all have the metric."""
    results = _read(path, _SEARCH)
    for name, row in results["grid"].items():
        if not name or "/" in name or name in (".", ".."):
            raise _damaged(path, f"{quoted(name, 60)} is no name of a combination")
        if results["metric"] not in row["summary"]:
            raise _damaged(path, f"{quoted(name, 60)} has no {quoted(results['metric'], 60)}")
        _check_trials(row, path)
    if results["chosen"] not in results["grid"]:
        raise _damaged(path, f"it chose {quoted(results['chosen'], 60)}, which is not in its grid")
    return results


def read_glue_results(path: Path) -> dict[str, Any]:
    """Return the results of a GLUE run."""
    results = _read(path, _GLUE)
    for row in results["tasks"].values():
        _check_trials(row, path)
    return results


def read_trial_results(folder: Path, seed: int) -> dict[str, Any]:
    """Return the results of the trial of this seed in its `folder`, whose metrics may be absent; raises UserError where
    there are none, or the file is damaged."""
    path = folder / "results.json"
    results = _read(path, _TRIAL)
    if results.get("seed", seed) != seed:
        raise _damaged(path, f"it is of seed {quoted(results['seed'], 40)}")
    return results


def _read(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    try:
        results = read_json(path, dict)
        check_shape(results, shape, str(path))
    except UserError as error:
        if not path.exists() and path.parent.parent.name != "trials":
            raise
        raise UserError(f"{str(error).removesuffix('; write the file again')}; {_remedy(path)}") from None
    return results


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    if path.parent.parent.name == "trials":
        return f"remove {path.parent}, and `bertsmith finetune` trains this seed again; the other seeds stay"
    return "run the command that wrote it again, which makes it of what is in the folder"


def _check_trials(row: dict[str, Any], path: Path, metrics: Collection[str] = ()) -> None:
    """Hold trials and summary to each other; one seed has no deviation, whichever version summarized it."""
    seeds = [trial["seed"] for trial in row["trials"]]
    if len(set(seeds)) < len(seeds):
        raise _damaged(path, "a seed is there twice")
    for metric, summary in row["summary"].items():
        if len(seeds) == 1:
            summary["std"] = None  # earlier versions wrote 0.0, or left it out
        elif summary.get("std") is None:
            raise _damaged(path, f"{quoted(metric, 60)} has no 'std'")
    for trial in row["trials"]:
        for metric in (*metrics, *row["summary"]):
            if metric not in trial["metrics"]:
                raise _damaged(path, f"seed {trial['seed']} has no {quoted(metric, 60)}")
