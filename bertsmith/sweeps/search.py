"""Every combination of some settings of fine-tuning, and which did best on dev; what `bertsmith search` does."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import Loaded, apply_overrides, defaults, identity, read_recipe_values, to_dict
from bertsmith.errors import UserError
from bertsmith.storage.files import locked, make_folder, own_folder
from bertsmith.storage.folders import no_empty_folder, open_run_folder
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.storage.results import read_run_results
from bertsmith.sweeps.finished import finish_sweep, say_and_write_each
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.trials.contexts import Contexts
from bertsmith.tasks.trials.run import FinetuneRun
from bertsmith.tasks.trials.schedule import run_trials

PREFIX = "search."
"""Begins an override that is of the search."""

KEYS = {"learning_rate": "schedule.learning_rate"}
"""Setting that can be searched → its key in a recipe of fine-tuning, where that is another."""

SHORT_NAMES = {"learning_rate": "lr", "batch_size": "batch", "layerwise_lr_decay": "decay"}
"""Setting → its name in that of a folder, where that is another."""

LEARNING_RATES = (3e-5, 5e-5, 1e-4, 1.5e-4)
"""Searched where nothing is named: the ones that ELECTRA's authors chose from (Clark et al. 2020, appendix B)."""


@settings
class SearchSettings:
    """The values that are tried, each with each; what has none is as the recipe says."""

    learning_rate: tuple[float, ...] = setting((), "values of schedule.learning_rate")
    epochs: tuple[float, ...] = setting((), "values of epochs")
    batch_size: tuple[int, ...] = setting((), "values of batch_size")
    layerwise_lr_decay: tuple[float, ...] = setting((), "values of layerwise_lr_decay")


@settings
class SearchOptions:
    """Settings of `bertsmith search` besides the settings of `FinetuneRecipe`."""

    search: SearchSettings = setting(SearchSettings(), "what is searched")


class SearchJob(NamedTuple):
    """A command, checked."""

    base: Loaded
    """The recipe, without what is searched."""
    keys: tuple[str, ...]
    """Names of `SearchSettings`' fields."""
    recipes: dict[str, Loaded]
    """The folder of each combination → its recipe."""


@no_empty_folder
def run_search(recipe: str, overrides: Sequence[str], out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Fine-tune with every combination, and choose by the mean over the seeds of the task's headline on dev; returns
    what results.json has.

    What `out` has already stays: combinations, and seeds of one; more values and more seeds may be added, and all that
    was ever tried counts in the choice. Each run's scores go to standard error. With the recipe's `jobs` several trials
    run side by side, of whatever combinations.

    Args:
        recipe: as of `finetune`.
        overrides: "search.key=[value, …]" of `SearchSettings`, or "key=value" of `FinetuneRecipe`.

    Raises:
        UserError: as `finetune`; a setting is both searched and given; `out` is of another search.
        Interrupted: by SIGTERM or SIGINT; finished trials stay.
    """
    job, contexts = read_search_job(recipe, overrides), Contexts()
    name, loaded = next(iter(job.recipes.items()))
    first = contexts.plan(loaded.settings, name)
    plans = {name: first.with_settings(loaded.settings, name) for name, loaded in job.recipes.items()}
    make_folder(out)
    with locked(out) as held:
        _open(out, job, first.files, overwrite)
        results = partial(_collect, out, job, first.metrics[0])
        finished = say_and_write_each(held, len(plans), results)
        folder = own_folder(out / "grid")
        run_trials([FinetuneRun(plan, folder / name) for name, plan in plans.items()], contexts, finished)
        return finish_sweep(held, "search", results)


def read_search_job(recipe: str, overrides: Sequence[str]) -> SearchJob:
    """Check what was asked for. Raises UserError as `run_search`."""
    search_overrides = [text for text in overrides if text.startswith(PREFIX)]
    recipe_overrides = [text for text in overrides if not text.startswith(PREFIX)]
    asked = apply_overrides(SearchOptions, {}, search_overrides).settings.search
    values = {field.name: getattr(asked, field.name) for field in fields(asked) if getattr(asked, field.name)}
    for override in search_overrides:
        if override.partition("=")[0].removeprefix(PREFIX) not in values:
            raise UserError(f"{override}: no value to search; name some, or leave it out")
    values = values or {"learning_rate": LEARNING_RATES}
    for key, given in values.items():
        if len(set(given)) < len(given):
            raise UserError(f"{PREFIX}{key} = {list(given)}: a value is there twice; name each once")
        if any(text.partition("=")[0] == KEYS.get(key, key) for text in recipe_overrides):
            raise UserError(f"{KEYS.get(key, key)}: searched ({PREFIX}{key}), so it has no one value; leave it out")
    base = apply_overrides(FinetuneRecipe, read_recipe_values("finetune", recipe), recipe_overrides)
    recipes = {}
    for combination in product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        given = [f"{KEYS.get(key, key)}={value!r}" for key, value in chosen.items()]
        recipes[_name(chosen)] = apply_overrides(
            FinetuneRecipe, read_recipe_values("finetune", recipe), [*recipe_overrides, *given]
        )
    return SearchJob(base, tuple(values), recipes)


def search_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield a line a combination, the best first, and what the choice is worth."""
    metric, grid, task = results["metric"], results["grid"], results.get("task", "")
    width = max(map(len, [*grid, task])) + 2
    yield f"{task:<{width}}{metric:>12}{'std':>9}{'seeds':>7}"
    for name in sorted(grid, key=lambda name: -grid[name]["summary"][metric]["mean"]):
        summary, number = grid[name]["summary"][metric], len(grid[name]["trials"])
        std = f"{summary['std']:>9.4f}" if number > 1 else f"{'–':>9}"
        mark = "  chosen" if name == results["chosen"] else ""
        yield f"{name:<{width}}{summary['mean']:>12.4f}{std}{number:>7}{mark}"
    if len(grid) > 1:
        yield (
            f"chosen by {results['chosen_by']}, as the best of {len(grid)}: its score there is optimistic; for "
            f"a score to report, use examples that had no part in the choice, such as a test set"
        )


def _name(chosen: dict[str, float]) -> str:
    parts = (
        f"{SHORT_NAMES.get(key, key)}-{np.format_float_positional(value, trim='-')}" for key, value in chosen.items()
    )
    return "-".join(parts)


def _open(out: Path, job: SearchJob, ground: dict[str, Any], overwrite: bool) -> None:
    """Check that `out` is this job's, on this model and these files, or make it so."""
    searched = [KEYS.get(key, key) for key in job.keys]
    fixed = {key: value for key, value in identity(job.base.settings).items() if key not in searched}
    job_identity = fixed | ground | {"searched": searched}
    open_run_folder(out, FOLDER_TYPES["search"], job_identity, defaults(job.base.settings), overwrite)
    write_manifest(out, "search", {
        "identity": job_identity, "recipe": to_dict(job.base.settings), "searched": searched, "finished": False,
    })  # fmt: skip


def _collect(out: Path, job: SearchJob, metric: str) -> dict[str, Any]:
    """Return the content of results.json, out of all combinations in `out`, also those of an earlier command."""
    grid = {}
    for path in sorted(out.glob("grid/*/results.json")):
        results, recipe = read_run_results(path), read_manifest(path.parent, "finetune")["recipe"]
        given = {key: _value(recipe, KEYS.get(key, key)) for key in job.keys}
        grid[path.parent.name] = {"settings": given, "trials": results["trials"], "summary": results["summary"]}
    means = {name: row["summary"][metric]["mean"] for name, row in grid.items()}
    return {
        "task": job.base.settings.task, "metric": metric, "chosen": max(means, key=means.__getitem__),
        "chosen_by": f"the mean of {metric} on dev over the seeds", "grid": grid,
    }  # fmt: skip


def _value(recipe: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        recipe = recipe[part]
    return recipe
