"""A fine-tuning run's folder, read: what `export` and the Python user start from."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bertsmith.config import check
from bertsmith.errors import UserError
from bertsmith.interop.configuration import family_of
from bertsmith.interop.finite import check_finite
from bertsmith.interop.names import Family
from bertsmith.json_files import read_json
from bertsmith.manifests import kind_of, read_manifest
from bertsmith.model.config import ClassicSettings, EncoderSettings
from bertsmith.schema import kinds_of
from bertsmith.tasks.mixing import SEVERAL, head_of, task_and_metric
from bertsmith.tasks.recipe import FinetuneRecipe

SEARCH = "search"
"""The kind of a folder that `bertsmith search` wrote."""


@dataclass(frozen=True)
class Finetuned:
    """One trial of a fine-tuning run, read: what `export` starts from. Of several tasks it is one, as if alone."""

    recipe: FinetuneRecipe
    family: Family
    """Whose head it has."""
    encoder: EncoderSettings
    vocab_size: int
    labels: tuple[str, ...]
    """Of classes or tags; empty where there are none: of questions, and of a regression, whose 0 and 1 stand for
    `manifest["low"]` and `manifest["high"]`."""
    multi_label: bool
    """Whether a text may have any number of the classes."""
    weights: dict[str, Tensor]
    """"encoder.…" and "head.…"."""
    seed: int
    results: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def trained_length(self) -> int | None:
        """Longest row that the encoder may have seen, in tokens, where less than it can hold: an export takes what the
        run itself does."""
        before = self.manifest.get("trained_length")
        return None if before is None else max(before, self.recipe.sequence_length)


class TaskRecord(NamedTuple):
    """What a run says of one task, as if the task had been alone."""

    recipe: FinetuneRecipe
    manifest: dict[str, Any]
    results: dict[str, Any]


def chosen_run(run: Path) -> Path:
    """`run`; of a search the run that it chose.

    Raises:
        UserError: the search is not finished.
    """
    if kind_of(run) != SEARCH:
        return run
    if not read_manifest(run, SEARCH)["finished"]:
        raise UserError(
            f"{run}: a search that is not finished; run `bertsmith search` again, or name a folder in {run / 'grid'}"
        )
    return run / "grid" / read_json(run / "results.json")["chosen"]


def read_recipe(run: Path, task: str | None = None) -> FinetuneRecipe:
    """The recipe of a fine-tuning run; of several tasks, that of `task`.

    Raises:
        UserError: there is none, or it is damaged; the run has no such task, or several where none is named.
    """
    try:
        recipe = check(FinetuneRecipe, tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{run}: cannot be read ({error}); run `bertsmith finetune` again") from None
    tasks = recipe.several.tasks if recipe.task == SEVERAL else (recipe.task,)
    if task is None and recipe.task == SEVERAL:
        raise UserError(f"{run}: learnt several tasks; name one with --task (task= in Python): {', '.join(tasks)}")
    if task not in (None, *tasks):
        raise UserError(f"{run}: did not learn {task}; --task is one of {', '.join(tasks)}")
    return recipe.of_task(task) if recipe.task == SEVERAL else recipe


def read_run(run: Path, task: str | None = None) -> TaskRecord:
    """What a fine-tuning run with a finished trial says of its task; of several, of `task`.

    Raises:
        UserError: as `read_recipe`; not a fine-tuning run, or no trial is finished.
    """
    manifest, recipe = read_manifest(run, "finetune"), read_recipe(run, task)
    if not (run / "results.json").exists():
        raise UserError(f"{run}: no trial is finished yet; run `bertsmith finetune` again, which goes on")
    try:
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        if "tasks" in manifest:
            manifest, results = manifest | manifest["tasks"][task], _results_of(results, task)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run}: cannot be read ({error}); run `bertsmith finetune` again") from None
    return TaskRecord(recipe, manifest, results)


def load_trial(run: Path, seed: int | None = None, task: str | None = None) -> Finetuned:
    """The trial of this seed; without one, the trial that did best on dev by the task's first metric.

    Args:
        task: which one, of a run of several tasks.

    Raises:
        UserError: not a fine-tuning run, no such trial or task, or a damaged file.
    """
    recipe, manifest, results = read_run(run, task)
    try:
        kind = manifest["encoder"].get("kind", ClassicSettings.kind)  # runs of version 0.1.0 do not say
        encoder = check(kinds_of(EncoderSettings)[kind], manifest["encoder"])
        family = manifest.get("family", family_of(encoder))
        headline = manifest["metrics"][0]
        seed = choose_seed(run, results, headline, seed)
        weights = load_file(trial_folder(run, seed) / "model.safetensors")
        if "tasks" in manifest:
            weights = _weights_of(weights, task)
        check_finite(weights, trial_folder(run, seed))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{run}: cannot be read ({error}); run `bertsmith finetune` again") from None
    multi_label = manifest.get("multi_label", False)  # runs of version 0.1.0 do not say
    return Finetuned(
        recipe, family, encoder, manifest["vocab_size"], tuple(manifest["labels"]), multi_label, weights, seed, results,
        manifest,
    )  # fmt: skip


def _results_of(results: dict[str, Any], task: str) -> dict[str, Any]:
    """A task's part of the results of several."""

    def own(scores: dict[str, Any]) -> dict[str, Any]:
        return {task_and_metric(name)[1]: score for name, score in scores.items() if task_and_metric(name)[0] == task}

    trials = [{"seed": trial["seed"], "metrics": own(trial["metrics"])} for trial in results["trials"]]
    return {"task": task, "trials": trials, "summary": own(results["summary"])}


def _weights_of(weights: dict[str, Tensor], task: str) -> dict[str, Tensor]:
    """The encoder's, and those of one task's head, under the names that they have where it is alone."""
    start = f"heads.{head_of(task)}."
    head = {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
    return {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")} | head


def choose_seed(run: Path, results: dict[str, Any], metric: str, seed: int | None = None) -> int:
    """`seed`; without one, that of the trial that did best on dev by `metric`.

    Args:
        run: for what is said.
        results: the content of its results.json.

    Raises:
        UserError: there is no such trial.
    """
    scores = {trial["seed"]: trial["metrics"][metric] for trial in results["trials"]}
    if seed is None:
        return max(scores, key=scores.__getitem__)
    if seed not in scores:
        raise UserError(f"{run}: no trial with seed {seed}; there are {', '.join(map(str, scores))}")
    return seed


def trial_folder(run: Path, seed: int) -> Path:
    return run / "trials" / f"seed-{seed}"
