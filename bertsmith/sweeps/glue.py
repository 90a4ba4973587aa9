"""All of GLUE from one model: a fine-tuning run a task, and both ways of averaging them; what `bertsmith glue` does."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import Loaded, apply_overrides, defaults, identity, read_recipe_values
from bertsmith.console.terminal import say
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.reports.averages import PROTOCOLS, PUBLISHED_AVERAGES, average
from bertsmith.storage.files import locked, make_folder, own_folder, refuse_links
from bertsmith.storage.folders import no_empty_folder, open_run_folder
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.storage.results import read_run_results
from bertsmith.sweeps.finished import finish_sweep, say_and_write_each
from bertsmith.tasks.departures import glue_departures, shared_settings
from bertsmith.tasks.published.glue import GLUE, why_absent
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.trials.contexts import Contexts
from bertsmith.tasks.trials.run import FinetuneRun
from bertsmith.tasks.trials.schedule import run_trials

FROM_MNLI = ("mrpc", "sts-b", "rte")
"""The tasks that MosaicBERT, ModernBERT and Ettin start from a model of MNLI."""


@settings
class GlueSettings:
    """Settings of `bertsmith glue` besides the settings of `FinetuneRecipe`, which are for all tasks."""

    data: str = setting(description="the GLUE folder, with a folder a task", identity=False)
    protocol: Literal["reference", "cramming"] = setting(
        "reference", "the hyper-parameters: each task's shipped recipe, or Cramming's one set for all tasks"
    )
    from_mnli: bool = setting(
        False, "start RTE, MRPC and STS-B from the MNLI model that was best on dev; marked wherever it shows"
    )


@dataclass(frozen=True)
class GlueJob:
    """A command, checked."""

    model: Path
    settings: GlueSettings
    recipes: dict[str, Loaded]
    """The recipes of all tasks, present or not."""
    absent: dict[str, str]
    """Task → what is missing of its training and dev files."""

    @property
    def present(self) -> list[str]:
        """The tasks, in the order in which they run one after the other."""
        present = [task for task in GLUE if task not in self.absent]
        return [*(task for task in present if not self.starts_from_mnli(task)), *filter(self.starts_from_mnli, present)]

    def starts_from_mnli(self, task: str) -> bool:
        return self.settings.from_mnli and task in FROM_MNLI


@no_empty_folder
def run_glue(model: Path, overrides: Sequence[str], out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Fine-tune `model` on every task whose training and dev files are there; returns what results.json has.

    What `out` has already stays: tasks, and the seeds of a task. With `from_mnli` the MNLI model is chosen when MNLI is
    first finished, and kept when seeds are added later; tasks that start from it are the last. Each run's scores go to
    standard error. With the recipes' `jobs` several trials run side by side, of whatever tasks.

    Args:
        model: what `finetune` can start from.
        overrides: "key=value" of `GlueSettings`, or of `FinetuneRecipe` for all tasks alike.

    Raises:
        UserError: no task is there; a setting, the model or a file cannot be used (all files are read before anything
            is trained); `out` belongs to another model or other settings, or to another process.
        Interrupted: by SIGTERM or SIGINT; finished trials stay.
    """
    job, contexts = read_glue_job(model, overrides), Contexts()
    plans = {task: contexts.plan(job.recipes[task].settings, task) for task in job.present}
    make_folder(out)
    with locked(out) as held:
        _open(out, job, plans[job.present[0]].source.identity["model"], overwrite)
        for task, why in job.absent.items():
            say(f"{task}: left out ({why})", error=True)
        results = partial(_collect, out, job)
        finished = say_and_write_each(held, len(job.present), results)
        for from_mnli in (False, True):
            tasks = [task for task in job.present if job.starts_from_mnli(task) == from_mnli]
            if tasks and from_mnli:
                model = _mnli_model(out)
                recipes = {task: _recipe(task, model, job.settings, _shared(overrides)).settings for task in tasks}
                plans = {task: contexts.plan(recipe, task) for task, recipe in recipes.items()}
            folder = own_folder(out / "tasks")
            run_trials([FinetuneRun(plans[task], folder / task) for task in tasks], contexts, finished)
        return finish_sweep(held, "glue", results)


def read_glue_job(model: Path, overrides: Sequence[str]) -> GlueJob:
    """Check what was asked for, and look which tasks are there. Raises UserError as `run_glue`."""
    own = [text for text in overrides if "=" not in text or _key(text) in GlueSettings.__dataclass_fields__]
    settings = apply_overrides(GlueSettings, {}, own).settings
    for text in overrides:
        if _key(text) in ("task", "model"):
            remedy = "`bertsmith finetune` runs one task" if _key(text) == "task" else "the model is the first argument"
            raise UserError(f"{text}: not a setting of `bertsmith glue`; {remedy}")
    recipes = {task: _recipe(task, model, settings, _shared(overrides)) for task in GLUE}
    if not Path(settings.data).is_dir():
        raise UserError(f"{settings.data}: no such folder; data=… names the folder of all GLUE tasks")
    absent = {task: why for task in GLUE if (why := why_absent(task, Path(settings.data), "train", "dev"))}
    if len(absent) == len(GLUE):
        raise UserError(
            f"{settings.data}: no GLUE task in it with training and dev files; name the folder that has a folder a "
            f"task, as `bertsmith download glue` makes it"
        )
    if settings.from_mnli:
        recipe = recipes["mnli"].settings
        if "mnli" in absent:
            raise UserError(f"from_mnli=true: there is no MNLI to start from ({absent['mnli']})")
        for key in ("compat", "random_weights"):
            if getattr(recipe, key):
                raise UserError(f"from_mnli=true: no task can start from a model of MNLI with {key}=true; drop one")
    return GlueJob(model, settings, recipes, absent)


def with_published(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results with the published averages beside them, as fractions of 1 too."""
    published = {
        name: [row._asdict() | {"score": round(row.score / 100, 6)} for row in rows]
        for name, rows in PUBLISHED_AVERAGES.items()
    }
    return dict(results) | {"published": published}


def _key(override: str) -> str:
    return override.partition("=")[0]


def _shared(overrides: Sequence[str]) -> list[str]:
    """Return those that go to every task."""
    return [text for text in overrides if _key(text) not in GlueSettings.__dataclass_fields__]


def _recipe(task: str, model: Path, settings: GlueSettings, overrides: Sequence[str]) -> Loaded:
    values = read_recipe_values("finetune", task)
    if settings.protocol == "cramming":
        values |= read_recipe_values("glue", "cramming")
    return apply_overrides(FinetuneRecipe, values | {"model": str(model), "data": settings.data}, overrides)


def _open(out: Path, job: GlueJob, fingerprint: str, overwrite: bool) -> None:
    """Check that `out` is this job's, or make it so."""
    identities = {task: identity(job.recipes[task].settings) for task in GLUE}
    job_identity = identity(job.settings) | {"model": fingerprint} | shared_settings(identities)
    recipe = next(iter(job.recipes.values())).settings
    before = open_run_folder(out, FOLDER_TYPES["glue"], job_identity, defaults(recipe), overwrite)
    write_manifest(out, "glue", {
        "identity": job_identity, "settings": asdict(job.settings), "model": str(job.model),
        "mnli_seed": before.get("mnli_seed"), "names": before.get("names", []), "finished": False,
    })  # fmt: skip


def _mnli_model(out: Path) -> Path:
    """Return the best trial of MNLI as a folder to start from, chosen once."""
    folder, manifest = out / "mnli-model", read_manifest(out, "glue")
    refuse_links(out, [folder.name])
    if manifest["mnli_seed"] is None or not folder.is_dir():
        seed = load_trial(out / "tasks" / "mnli").seed
        export_run(out / "tasks" / "mnli", folder)
        names = [f"{folder.name}/{name}" for name in os.listdir(folder)]  # ours from here on
        write_manifest(out, "glue", manifest | {"mnli_seed": seed, "names": names})
    return folder


def _collect(out: Path, job: GlueJob) -> dict[str, Any]:
    """Return the content of results.json, out of those of all tasks in `out`."""
    tasks = {}
    for task in GLUE:
        path = out / "tasks" / task / "results.json"
        if not path.is_file():
            continue
        results = read_run_results(path)
        transferred = job.settings.from_mnli and task in FROM_MNLI
        tasks[task] = {"from_mnli": transferred, "trials": results["trials"], "summary": results["summary"]}
    departures = glue_departures({task: identity(job.recipes[task].settings) for task in tasks})
    return {
        "model": str(job.model), "protocol": job.settings.protocol, "tasks": tasks,
        "absent": {task: why for task, why in job.absent.items() if task not in tasks},
        "averages": {name: average(protocol, tasks, departures[name]) for name, protocol in PROTOCOLS.items()},
    }  # fmt: skip
