"""results.json of a trial, a fine-tuning run, a search and a GLUE run: read, with the shape that readers rely on."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import check_shape, read_json

Value = TypeVar("Value")

_NUMBER = (int, float)
_METRICS = {str: _NUMBER}
_TRIALS = [{"seed": int, "metrics": _METRICS}]
_SUMMARY = {str: {"median": _NUMBER, "mean": _NUMBER, "std?": (int, float, type(None))}}
_RUN = {"task?": str, "trials": _TRIALS, "summary": _SUMMARY}
_TRIAL = {
    "seed?": int, "metrics?": _METRICS, "constant?": bool, "cautions?": [str], "steps?": int,
    "tokens?": int, "seconds?": _NUMBER,
    "early_stopping?": {"held_out?": int, "metric": str, "score": _NUMBER, "step": int},
}  # fmt: skip
_AVERAGE = {
    "average": (int, float, type(None)), "mean": (int, float, type(None)), "comparable": bool,
    "numbers": int, "of": int, "missing": [str], "from_mnli": [str],
    "departures": [str],
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


def flat_names(nested: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """Return values by task and metric under the names that results.json has: "TASK.METRIC", or of the task "" the
    metric's alone."""
    return {
        f"{task}.{metric}" if task else metric: value
        for task, values in nested.items()
        for metric, value in values.items()
    }


def task_and_metric(name: str) -> tuple[str, str]:
    """Return what a flat name is made of. A task's name may have points in it, a metric's has none."""
    task, _, metric = name.rpartition(".")
    return task, metric


def by_task(flat: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Return values under flat names by task and metric."""
    nested: dict[str, dict[str, Value]] = {}
    for name, value in flat.items():
        task, metric = task_and_metric(name)
        nested.setdefault(task, {})[metric] = value
    return nested


def cautions_of(trial: Mapping[str, Any]) -> list[str]:
    """Return what a trial was warned of, by its results; in those of earlier versions only that all was the same."""
    return trial.get("cautions", ["every dev prediction is the same"] if trial.get("constant") else [])


def read_run_results(path: Path, metrics: Collection[str] = ()) -> dict[str, Any]:
    """Return the results of a fine-tuning run; every trial has each of these `metrics`, and every one that is
    summarized.

    Raises:
        UserError: there are none, or the file is damaged.
    """
    results = _read(path, _RUN)
    _check_trials(results, path, metrics)
    return results


def read_search_results(path: Path) -> dict[str, Any]:
    """Return the results of a search, in which the chosen combination is one of the grid and all have the metric."""
    results = _read(path, _SEARCH)
    for name, row in results["grid"].items():
        if not name or "/" in name or name in (".", ".."):
            raise UserError(f"{path}: damaged ({quoted(name, 60)} is no name of a combination); {_remedy(path)}")
        if results["metric"] not in row["summary"]:
            raise UserError(f"{path}: damaged ({quoted(name, 60)} has no {quoted(results['metric'], 60)}); "
                            f"{_remedy(path)}")  # fmt: skip
        _check_trials(row, path)
    if results["chosen"] not in results["grid"]:
        raise UserError(f"{path}: damaged (it chose {quoted(results['chosen'], 60)}, which is not in its grid); "
                        f"{_remedy(path)}")  # fmt: skip
    return results


def read_glue_results(path: Path) -> dict[str, Any]:
    """Return the results of a GLUE run."""
    results = _read(path, _GLUE)
    for row in results["tasks"].values():
        _check_trials(row, path)
    return results


def read_trial_results(folder: Path, seed: int) -> dict[str, Any]:
    """Return the results of one trial, of this seed; whoever needs its "metrics" asks for each.

    Args:
        folder: the trial's.
        seed: see above.

    Raises:
        UserError: there are none, or the file is damaged.
    """
    path = folder / "results.json"
    results = _read(path, _TRIAL)
    if results.get("seed", seed) != seed:
        raise UserError(f"{path}: damaged (it is of seed {quoted(results['seed'], 40)}); {_remedy(path)}")
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


def _remedy(path: Path) -> str:
    if path.parent.parent.name == "trials":
        return f"remove {path.parent}, and `bertsmith finetune` trains this seed again; the other seeds stay"
    return "run the command that wrote it again, which makes it of what is in the folder"


def _check_trials(row: dict[str, Any], path: Path, metrics: Collection[str] = ()) -> None:
    """Hold trials and summary to each other; one seed has no deviation, whichever version summarized it."""
    seeds = [trial["seed"] for trial in row["trials"]]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: damaged (a seed is there twice); {_remedy(path)}")
    for metric, summary in row["summary"].items():
        if len(seeds) == 1:
            summary["std"] = None  # earlier versions wrote 0.0, or left it out
        elif summary.get("std") is None:
            raise UserError(f"{path}: damaged ({quoted(metric, 60)} has no 'std'); {_remedy(path)}")
    for trial in row["trials"]:
        for metric in (*metrics, *row["summary"]):
            if metric not in trial["metrics"]:
                raise UserError(f"{path}: damaged (seed {trial['seed']} has no {quoted(metric, 60)}); {_remedy(path)}")
