"""A run folder, finished or not, read for its page; titles of measures and metrics."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import read_toml
from bertsmith.errors import UserError
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.storage.files import sha256_file
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import folder_type, read_manifest, word
from bertsmith.storage.results import (
    AVERAGED,
    read_glue_results,
    read_run_results,
    read_search_results,
    read_trial_results,
    task_and_metric,
)
from bertsmith.training.metrics import read_metrics

COLORS = ("#3f83e0", "#dd6b2f", "#2a9d70", "#b35fcf", "#b8930b", "#d94a78", "#1d9cb3", "#8d7059")
"""Of the runs, in turn; each has a contrast of at least 2.9 to white and of 3.9 to #14161a."""

VERBS = ("pretrain", "finetune", "glue")
"""Of runs that a page shows; of a search it shows the fine-tuning runs."""


class Log(NamedTuple):
    """One metrics.jsonl."""

    label: str
    """The trial's name; empty for a run with one log."""
    lines: list[dict[str, Any]]
    """Each with a "split" and a "step"."""


@dataclass(frozen=True)
class Run:
    """The content of a run folder; fields that it lacks, or lacks as yet, are empty."""

    name: str
    """The folder's own name, with as many of its parents as it takes to tell the runs of the page apart."""
    verb: str
    manifest: dict[str, Any]
    recipe: dict[str, Any]
    logs: list[Log]
    trials: list[dict[str, Any]]
    """Trials of a fine-tuning run: "seed", "metrics" (name → fraction), and what the trial's own results.json adds."""
    summary: dict[str, dict[str, Any]]
    """Metric → "median", "mean" and "std" (None of one) over the trials; the task's headline comes first."""
    glue: dict[str, Any] = field(default_factory=dict)
    """The "tasks", "absent" and "averages" of a GLUE run's results.json."""
    vocabulary: str = ""
    """Hash of a pre-training run's tokens with their ids."""
    chosen: str = ""
    """Of the run that a search chose: by what, among how many."""
    checkpoint: int = 0
    """Step of a pre-training run's newest checkpoint."""
    color: str = ""
    """Color of its curves and marks."""

    @property
    def step(self) -> int:
        """The newest known: a run may be killed before its first line of metrics, or after its last checkpoint."""
        return max([self.checkpoint, *(line["step"] for log in self.logs for line in log.lines)])

    @property
    def objective(self) -> type[PretrainingSettings] | None:
        """The settings class of a pre-training run's objective; None where a plugin has it that is not loaded."""
        return OBJECTIVES.get(self.setting("objective.kind", "mlm")) if self.verb == "pretrain" else None

    def scored_on(self, task: str = "") -> str:
        """Return "dev", or "test" where the scores of the task (of the only one, where it is not one of several) are
        of its official test file."""
        manifest = self.manifest.get("tasks", {}).get(task, self.manifest)
        return str(manifest.get("scored_on", "dev"))

    def setting(self, key: str, default: Any = None) -> Any:
        """Return the value of the dotted `key` in the recipe."""
        value: Any = self.recipe
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def last(self, name: str, split: str = "train") -> Any:
        """Return the latest value of a measure; None without one."""
        return next(reversed(self.values(name, split)), None)

    def values(self, name: str, split: str = "train") -> list[Any]:
        """Return all values of a measure, in the order of the logs."""
        lines = (line for log in self.logs for line in log.lines if line["split"] == split)
        return [line[name] for line in lines if line.get(name) is not None]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the runs in the order given; of a search those of its combinations, the best first.

    Raises:
        UserError: a folder is not a run's, is of a newer format, or its recipe or results are damaged.
    """
    chosen: dict[Path, str] = {}
    for folder in folders:
        chosen |= _searched(folder.resolve()) or {folder.resolve(): ""}
    resolved = list(chosen)
    return [
        replace(_read_run(folder, name), chosen=chosen[folder], color=COLORS[number % len(COLORS)])
        for number, (folder, name) in enumerate(zip(resolved, _names(resolved), strict=True))
    ]


def _searched(folder: Path) -> dict[Path, str]:
    """Return, of a search, the folder of each combination with why it was chosen; "" where it was not."""
    if folder_type(folder, strict=True) != "search":
        return {}
    read_manifest(folder, "search")
    if not (folder / "results.json").exists():
        raise UserError(f"{folder}: a search that has no scores yet; run `bertsmith search` on it again")
    found = read_search_results(folder / "results.json")
    grid, metric = found["grid"], found["metric"]
    names = sorted(grid, key=lambda name: -grid[name]["summary"][metric]["mean"])
    why = f"by {found['chosen_by']}, as the best of {len(grid)}, so its score there is optimistic"
    return {folder / "grid" / name: why if name == found["chosen"] else "" for name in names}


def _read_run(folder: Path, name: str) -> Run:
    manifest = _read_manifest(folder)
    if manifest["kind"] == "glue":
        return _read_glue(folder, name, manifest)
    recipe = _read_recipe(folder / "recipe.toml")
    if manifest["kind"] == "pretrain":
        log, vocabulary = Log("", read_metrics(folder / "metrics.jsonl")), ""
        with contextlib.suppress(OSError):
            is_wordpiece = (folder / "vocab.txt").exists()
            vocabulary = sha256_file(folder / ("vocab.txt" if is_wordpiece else "tokenizer.json"))
        step = max(checkpoint_folders(folder), default=0)
        return Run(name, "pretrain", manifest, recipe, [log], [], {}, vocabulary=vocabulary, checkpoint=step)
    path = folder / "results.json"
    results = read_run_results(path) if path.exists() else {}
    logs, trials = _read_trials(folder, results.get("trials", []))
    return Run(name, "finetune", manifest, recipe, logs, trials, results.get("summary", {}))


def _read_trials(folder: Path, listed: Sequence[dict[str, Any]]) -> tuple[list[Log], list[dict[str, Any]]]:
    """Read the logs and results of a fine-tuning run's trials, as its results.json lists them."""
    logs, trials = [], []
    for trial in sorted(listed, key=lambda trial: trial["seed"]):
        label = f"seed-{trial['seed']}"
        inside = folder / "trials" / label
        logs.append(Log(label, read_metrics(inside / "metrics.jsonl")))
        details = read_trial_results(inside, trial["seed"]) if (inside / "results.json").exists() else {}
        trials.append(details | trial)
    return logs, trials


def _read_glue(folder: Path, name: str, manifest: dict[str, Any]) -> Run:
    """Read a GLUE run. Its recipe is what the tasks share; where they differ in a setting, each value with its
    tasks."""
    path = folder / "results.json"
    found = read_glue_results(path) if path.exists() else {"tasks": {}, "absent": {}, "averages": {}}
    logs = []
    for task, row in found["tasks"].items():
        of_task, row["trials"] = _read_trials(folder / "tasks" / task, row["trials"])
        logs += [log._replace(label=f"{task} {log.label}") for log in of_task]
    shared = {key: value for key, value in manifest.get("identity", {}).items() if key != "model"}
    settings = {key: _by_value(value) if isinstance(value, dict) else value for key, value in shared.items()}
    recipe = {"model": manifest.get("model", ""), **manifest.get("settings", {}), **settings}
    return Run(name, "glue", manifest, recipe, logs, [], {}, found)


def _by_value(values: dict[str, Any]) -> str:
    """Return {task: value} as "value (task, task), …"."""
    tasks: dict[str, list[str]] = {}
    for task, value in values.items():
        tasks.setdefault(str(value), []).append(task)
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in tasks.items())


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; give the folder of a run")
    if not (folder / "manifest.json").exists():
        raise UserError(
            f"{folder}: not a run folder (it has no manifest.json); "
            f"give one that `bertsmith pretrain`, `finetune` or `glue` wrote"
        )
    kind = folder_type(folder, strict=True)
    if kind not in VERBS:
        raise UserError(f"{folder}: a {word(kind)} folder; a page is made of runs of {', '.join((*VERBS, 'search'))}")
    return read_manifest(folder, kind)


def _read_recipe(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return read_toml(path)
    except UserError as error:
        raise UserError(f"{error}\na run's recipe is not meant to be edited; run its command again") from None


def _names(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the shortest ends of the paths that differ from one another."""
    for folder in folders:
        others = [other for other in folders if other != folder]
        for length in range(1, len(folder.parts) + 1):
            end = folder.parts[-length:]
            if all(other.parts[-length:] != end for other in others):
                break
        yield "/".join(end)


TITLES = {
    "loss": "Loss", "pinned_loss": "Pinned masked-token loss, nats",
    "pinned_bits_per_byte": "Pinned loss, bits a byte of text", "blimp": "BLiMP accuracy",
    "glue_cola": "Quick GLUE: CoLA, Matthews correlation", "glue_sst2": "Quick GLUE: SST-2, accuracy",
    "glue_mrpc": "Quick GLUE: MRPC, accuracy", "glue_stsb": "Quick GLUE: STS-B, Spearman correlation",
    "glue_rte": "Quick GLUE: RTE, accuracy", "glue_mean": "Quick GLUE: mean of its tasks",
    "learning_rate": "Learning rate", "tokens_per_second": "Tokens a second",
    "gradient_norm": "Gradient norm before clipping", "mfu": "MFU, share of the measured peak",
    "hidden_cosine": "Mean cosine of different tokens' hidden vectors (near 1: all alike)",
    "memory_bytes": "Memory, GiB", "mcc": "Matthews correlation", "f1": "F1", "pearson": "Pearson correlation",
    "spearman": "Spearman correlation", "mean": "Mean over the tasks", "f1_micro": "Micro F1", "f1_macro": "Macro F1",
    "exact": "Exact match", "best_f1": "F1 at its best threshold", "best_exact": "Exact match at its best threshold",
}  # fmt: skip

SHARES = ("accuracy", "precision", "recall", "f1", "f1_micro", "f1_macro", "exact", "exact_match", "best_f1",
          "best_exact")  # fmt: skip
"""Metrics that are shares of something, shown in percent; correlations are not."""


def measure_title(name: str, runs: Sequence[Run] = ()) -> str:
    """Return the title of a measure or metric, with its task before it where its name has one. The objectives of `runs`
    name their own measures; where these differ, the title has both."""
    if name.startswith(AVERAGED):
        return f"{measure_title(name.removeprefix(AVERAGED), runs)} (averaged weights)"
    task, metric = task_and_metric(name)
    own = [run.objective.titles.get(metric) for run in runs if run.objective]
    title = " / ".join(dict.fromkeys(filter(None, own))) or TITLES.get(metric) or metric.replace("_", " ").capitalize()
    return f"{task}: {title}" if task else title
