"""The files of runs that an entry of the record is made of, read from the runs' folders or from the copies in an entry.

Of each run its manifest, recipe, log and results; of weights, predictions and token shards the hashes in manifests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.config.loading import read_own_recipe
from bertsmith.config.schema import leaves
from bertsmith.encoders.initialization import shapes_only
from bertsmith.errors import UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import PretrainingObjective
from bertsmith.reports.averages import PROTOCOLS
from bertsmith.storage.files import sha256_json
from bertsmith.storage.folders import checkpoint_folders, numbered_folders
from bertsmith.storage.json_files import check_shape, member
from bertsmith.storage.manifests import read_manifest
from bertsmith.storage.parts import parts_of
from bertsmith.storage.results import read_glue_results, read_trial_results
from bertsmith.tasks.published.glue import GLUE
from bertsmith.training.checkpoints import MODEL_FILE, STATE_FILE, read_state
from bertsmith.training.loop import State
from bertsmith.training.metrics import read_metrics
from bertsmith.training.recipe import PretrainRecipe

MAX_MODEL_SIZE = 1 << 24
"""Of a model: a number in its settings that is larger would be built for hours, and is no encoder's."""
MAX_MODEL_LAYERS = 4096


@dataclass(frozen=True)
class Sources:
    """Folders of runs, or of their copies in an entry."""

    run: Path
    data: Path
    glue: Mapping[str, Path]
    """Protocol → the GLUE run."""

    def files(self) -> dict[str, Path]:
        """Return name in an entry → file, of all that are evidence. Raises UserError where there is no checkpoint."""
        checkpoint = newest_checkpoint_folder(self.run)
        inside = f"checkpoints/{checkpoint.name}"
        names = ["manifest.json", "recipe.toml", "metrics.jsonl", f"{inside}/manifest.json", f"{inside}/{STATE_FILE}"]
        found = {f"run/{name}": self.run / name for name in names}
        found["data/manifest.json"] = self.data / "manifest.json"
        for protocol, folder in self.glue.items():
            names = ["manifest.json", "results.json"]
            for task in glue_tasks(folder):
                names.append(f"tasks/{task}/manifest.json")
                for seed in numbered_folders(folder / "tasks" / task / "trials", "seed-"):
                    names += [f"tasks/{task}/trials/seed-{seed}/{name}" for name in ("manifest.json", "results.json")]
            found |= {f"{protocol}/{name}": folder / name for name in names}
        return found


def sources_of(entry: Path) -> Sources:
    """Return the copies in the folder of an entry."""
    glue = {protocol: entry / protocol for protocol in PROTOCOLS if (entry / protocol).is_dir()}
    return Sources(entry / "run", entry / "data", glue)


@dataclass(frozen=True)
class TaskEvidence:
    """One task of a GLUE run."""

    manifest: dict[str, Any]
    trials: dict[int, dict[str, Any]]
    """Seed → its results."""
    hashes: dict[int, dict[str, str]]
    """Seed → file of the trial → its hash."""


@dataclass(frozen=True)
class GlueEvidence:
    """A GLUE run."""

    folder: Path
    manifest: dict[str, Any]
    results: dict[str, Any]
    tasks: dict[str, TaskEvidence]

    def is_transferred(self, task: str) -> bool:
        """Return whether the task started from another model than the run's, as with from_mnli."""
        return self.tasks[task].manifest["identity"]["model"] != self.manifest["identity"]["model"]


@dataclass(frozen=True)
class Evidence:
    """All that an entry is computed from."""

    sources: Sources
    manifest: dict[str, Any]
    recipe: PretrainRecipe
    lines: list[dict[str, Any]]
    """Of the log."""
    state: State
    """Of the newest checkpoint."""
    weights: str
    """Hash of its weights' file; of several, of their hashes."""
    data: dict[str, Any]
    """Manifest of the data folder."""
    glue: dict[str, GlueEvidence] = field(default_factory=dict)
    """By protocol."""

    def objective(self) -> PretrainingObjective:
        """Return the objective that the recipe trains, without memory for its weights."""
        with shapes_only():
            return self.recipe.objective.build(self.recipe.model, MaskingVocabulary(self.manifest["vocab_size"]))


def read_evidence(sources: Sources) -> Evidence:
    """Read the files of `sources`.

    Raises:
        UserError: one is missing or damaged, a run is of another type, or a GLUE run is of another protocol.
    """
    run = sources.run
    manifest = read_manifest(run, "pretrain")
    check_shape(manifest, {"identity": dict, "recipe": dict}, str(run / "manifest.json"))
    recipe = read_own_recipe(PretrainRecipe, run, "pretrain")
    _check_sizes(recipe, manifest["vocab_size"], run)
    checkpoint = newest_checkpoint_folder(run)
    hashes = read_manifest(checkpoint, "checkpoint")["files"]
    return Evidence(
        sources,
        manifest,
        recipe,
        read_metrics(run / "metrics.jsonl"),
        read_state(checkpoint / STATE_FILE),
        _hash_of_weights(hashes, checkpoint / "manifest.json"),
        read_manifest(sources.data, "data"),
        {protocol: read_glue_run(folder) for protocol, folder in sources.glue.items()},
    )


def _hash_of_weights(hashes: dict[str, str], manifest: Path) -> str:
    parts = parts_of(MODEL_FILE, hashes)
    if len(parts) > 1:
        return sha256_json([hashes[part] for part in parts])
    return member(hashes, MODEL_FILE, str, str(manifest))


def newest_checkpoint_folder(run: Path) -> Path:
    """Return the folder of a run's newest checkpoint. Raises UserError where there is none."""
    if not (found := checkpoint_folders(run)):
        raise UserError(f"{run}: has no checkpoint; an entry has that of a finished run")
    return list(found.values())[-1]


def glue_tasks(folder: Path) -> list[str]:
    """Return the tasks that a GLUE run has a folder of, in GLUE's order."""
    return [task for task in GLUE if (folder / "tasks" / task / "manifest.json").is_file()]


def read_glue_run(folder: Path) -> GlueEvidence:
    """Read what a GLUE run says of itself and of its trials. Raises UserError as `read_evidence`."""
    manifest = read_manifest(folder, "glue")
    where = str(folder / "manifest.json")
    check_shape(manifest, {"identity": {"model": str, "protocol": str}}, where)
    tasks = {}
    for task in glue_tasks(folder):
        inside = folder / "tasks" / task
        found = read_manifest(inside, "finetune")
        shape = {"identity": {"model": str, "data?": [str], "epochs": (int, float)}, "examples": {str: int}}
        check_shape(found, shape, str(inside / "manifest.json"))
        trials, hashes = {}, {}
        for seed, trial in numbered_folders(inside / "trials", "seed-").items():
            trials[seed] = read_trial_results(trial, seed)
            check_shape(trials[seed], {"metrics": dict}, str(trial / "results.json"))
            hashes[seed] = read_manifest(trial, "trial")["files"]
        tasks[task] = TaskEvidence(found, trials, hashes)
    return GlueEvidence(folder, manifest, read_glue_results(folder / "results.json"), tasks)


def _check_sizes(recipe: PretrainRecipe, vocab_size: int, run: Path) -> None:
    """Raise UserError where a model of these settings would be built for hours."""
    sizes = {leaf.key: leaf.value for leaf in leaves(recipe) if leaf.key.startswith(("model.", "objective."))}
    layers = recipe.model.num_hidden_layers
    if layers > MAX_MODEL_LAYERS:
        raise UserError(f"{run / 'recipe.toml'}: model.num_hidden_layers = {layers}: at most {MAX_MODEL_LAYERS:,} here")
    for key, size in {"vocab_size": vocab_size, **sizes}.items():
        if isinstance(size, int) and size > MAX_MODEL_SIZE:
            raise UserError(f"{run}: {key} = {size}: at most {MAX_MODEL_SIZE:,} in an entry of the record")
