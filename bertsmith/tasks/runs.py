"""A fine-tuning run's folder → its recipe, its results, and the model of a trial."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from bertsmith.config.loading import check, read_own_recipe
from bertsmith.config.schema import kinds_of
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.initialization import shapes_only
from bertsmith.encoders.registry import EncoderSettings
from bertsmith.errors import UserError, one_line, quoted
from bertsmith.hub.finite import check_finite
from bertsmith.hub.network import Network
from bertsmith.hub.registry import FAMILIES
from bertsmith.storage.files import sha256_file
from bertsmith.storage.json_files import member
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.storage.results import by_task, read_run_results, read_search_results
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.recipe import SEVERAL, FinetuneRecipe, module_name_of
from bertsmith.tasks.task_spec import HEAD_OF_INPUT, answer_kind_of
from bertsmith.training.checkpoints import check_tensors
from bertsmith.training.machine import Machine, MachineSettings, choose_machine
from bertsmith.training.models import Model, open_model, read_tokenizer

TRIAL_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Finetuned(Model):
    """One trial of a fine-tuning run, opened. Of several tasks it is one, as if alone."""

    recipe: FinetuneRecipe
    seed: int
    results: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def length(self) -> int:
        """Longest row that it learnt from, in tokens."""
        return self.recipe.sequence_length

    @property
    def folder(self) -> Path:
        """The trial's; of several tasks, its task's in it."""
        trial = trial_folder(self.path, self.seed)
        return trial / self.results["task"] if "tasks" in self.manifest else trial

    @property
    def answer_kind(self) -> AnswerKind:
        """Kind of the answers to texts, or of words' tags."""
        said = {key: value for key in ("multi_label", "low", "high") if (value := self.manifest.get(key)) is not None}
        return answer_kind_of(self.network.labels, **said)  # runs of version 0.1.0 do not say whether there may be many


def chosen_run(run: Path) -> Path:
    """Return `run`; of a search the run that it chose. Raises UserError where the search is not finished."""
    if folder_type(run) != "search":
        return run
    if not read_manifest(run, "search")["finished"]:
        raise UserError(
            f"{run}: a search that is not finished; run `bertsmith search` again, or name a folder in {run / 'grid'}"
        )
    return run / "grid" / read_search_results(run / "results.json")["chosen"]


def read_run_recipe(run: Path, task: str | None = None) -> FinetuneRecipe:
    """Return the recipe of a fine-tuning run; of several tasks, that of `task`. Raises UserError where there is none,
    or it is damaged; the run has no such task, or several where none is named."""
    recipe = read_own_recipe(FinetuneRecipe, run, "finetune")
    tasks = recipe.several.tasks if recipe.task == SEVERAL else (recipe.task,)
    if task is None:
        if recipe.task == SEVERAL:
            raise UserError(f"{run}: learnt several tasks; name one with --task (task= in Python): {', '.join(tasks)}")
        return recipe
    if task not in tasks:
        raise UserError(f"{run}: did not learn {task}; --task is one of {', '.join(tasks)}")
    return recipe.of_task(task) if recipe.task == SEVERAL else recipe


def read_run(run: Path, task: str | None = None) -> tuple[FinetuneRecipe, dict[str, Any], dict[str, Any]]:
    """Return recipe, manifest and results of a fine-tuning run with a finished trial; of several tasks those of `task`,
    as if it had been alone. Raises UserError as `read_run_recipe`, and where no trial is finished."""
    manifest, recipe = read_manifest(run, "finetune"), read_run_recipe(run, task)
    if not (run / "results.json").exists():
        raise UserError(f"{run}: no trial is finished yet; run `bertsmith finetune` again, which goes on")
    results = read_run_results(run / "results.json")
    if "tasks" in manifest:
        if task is None or task not in manifest["tasks"]:
            raise UserError(f"{run / 'manifest.json'}: says nothing of {task}; run `bertsmith finetune` again")
        manifest, results = manifest | manifest["tasks"][task], _results_of(results, task)
    [metric, *_] = member(manifest, "metrics", list, str(run / "manifest.json")) or [None]
    if not results["trials"] or any(metric not in trial["metrics"] for trial in results["trials"]):
        raise UserError(f"{run / 'results.json'}: has no trial with {metric}; run `bertsmith finetune` again")
    return recipe, manifest, results


def open_trained(path: Path, task: str | None = None) -> Model:
    """Open whatever has been trained: the best trial of a fine-tuning run (of several tasks that of `task`), of a
    search that of the run which it chose, and all that `open_model` opens. Raises UserError as `load_trial` and
    `open_model`, and where it is a run of many models."""
    path = chosen_run(path)
    type = folder_type(path)
    if type == "glue":
        raise UserError(f"{path}: a GLUE run of many models; name one of its tasks, as {path}/tasks/rte")
    if type == "finetune":
        return load_trial(path, task=task)
    if task is not None:
        raise UserError(f"{path}: --task {task} is of use with a fine-tuning run of several tasks alone")
    return open_model(path)


def load_trial(run: Path, seed: int | None = None, task: str | None = None) -> Finetuned:
    """Return the trial of this seed; without one, the trial that did best on dev by the headline of the task, which is
    `task` where a run has several. Raises UserError as `read_run`, and where there is no such trial or a file is
    damaged."""
    recipe, manifest, results = read_run(run, task)
    where = str(run / "manifest.json")
    described = member(manifest, "encoder", dict, where)
    kinds, kind = kinds_of(EncoderSettings), described.get("kind", BertConfig.kind)  # version 0.1.0 does not say
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"{where}: encoder.kind is {quoted(kind, 60)}; there are {', '.join(kinds)}")
    try:
        encoder: EncoderSettings = check(kinds[kind], described)
    except UserError as error:
        raise UserError(f"{where}: encoder.{error}") from None
    family = manifest.get("family", encoder.family())
    if family not in FAMILIES:
        raise UserError(f"{where}: family is {quoted(family, 60)}; there are {', '.join(FAMILIES)}")
    seed = choose_seed(run, results, manifest["metrics"][0], seed)
    weights, vocab_size = _read_weights(run, seed, results), member(manifest, "vocab_size", int, where)
    if "tasks" in manifest:
        weights = _weights_of(weights, results["task"])
    check_finite(weights, trial_folder(run, seed))
    _check_encoder(weights, encoder, vocab_size, trial_folder(run, seed) / TRIAL_FILE)
    tokenizer = read_tokenizer(run, manifest, vocab_size)
    tasks = manifest.get("tasks", [member(manifest, "task", str, where)])
    before = manifest.get("trained_length")  # an export takes what the run itself does
    network = Network(
        family=family, settings=encoder, vocab_size=vocab_size, head=HEAD_OF_INPUT[recipe.spec.input], weights=weights,
        labels=tuple(member(manifest, "labels", list, where)),
        trained_length=None if before is None else max(before, recipe.sequence_length),
        finetuned_on=(*manifest.get("learnt_before", ()), *tasks),
        folder=run,
    )  # fmt: skip
    return Finetuned(run, [network], tokenizer, recipe=recipe, seed=seed, results=results, manifest=manifest)


def load_on_machine(objective: nn.Module, model: Model, settings: MachineSettings) -> Machine:
    """Give an opened model's weights to the module that it describes, and return the machine that it is put on. Raises
    UserError where they are not that module's; the machine's device is not there."""
    weights = model.network.weights
    if isinstance(model, Finetuned):  # of a folder the shapes were checked as it was read
        check_tensors(weights, objective.state_dict(), trial_folder(model.path, model.seed) / TRIAL_FILE)
    objective.load_state_dict(weights)
    machine = choose_machine(settings, model.tokenizer.pad_id)
    machine.prepare_model(objective)
    return machine


def _check_encoder(weights: dict[str, Tensor], settings: EncoderSettings, vocab_size: int, path: Path) -> None:
    """Raise UserError where the encoder that the manifest describes is another one than the weights'; none is built
    whose sizes are beyond theirs."""
    tensors = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    size = sum(tensor.numel() for tensor in tensors.values())
    if max(vocab_size, settings.hidden_size) > size or settings.num_hidden_layers > len(tensors):
        raise UserError(f"{path}: damaged (smaller than the encoder in manifest.json)")
    with shapes_only():
        expected = Encoder(settings, vocab_size).state_dict()
    check_tensors(tensors, {f"encoder.{name}": tensor for name, tensor in expected.items()}, path)


def _read_weights(run: Path, seed: int, results: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a trial, which are those that were written; where they are not, the message says which
    trials are whole."""
    if fault := _fault(trial_folder(run, seed)):
        others = [trial["seed"] for trial in results["trials"] if trial["seed"] != seed]
        whole = [str(other) for other in others if not _fault(trial_folder(run, other))]
        left = f"whole: {'seed' if len(whole) == 1 else 'seeds'} {', '.join(whole)}" if whole else "no trial is whole"
        raise UserError(
            f"{trial_folder(run, seed) / TRIAL_FILE}: damaged ({fault}); {left}\nremove {trial_folder(run, seed)}, and "
            f"`bertsmith finetune` trains this seed again"
        )
    return load_file(trial_folder(run, seed) / TRIAL_FILE)


def _fault(trial: Path) -> str:
    """Return what is wrong with the weights of a trial; empty if nothing is."""
    path = trial / TRIAL_FILE
    try:
        # Trials of version 0.1.0 have no hash.
        known = read_manifest(trial, "trial")["files"].get(TRIAL_FILE) if (trial / "manifest.json").exists() else None
        if known is not None and sha256_file(path) != known:
            return "its hash is not the one in manifest.json"
        with safe_open(path, "pt") as file:
            file.keys()
    except (SafetensorError, OSError, UserError) as error:
        return one_line(error)
    return ""


def _results_of(results: dict[str, Any], task: str) -> dict[str, Any]:
    """Return a task's part of the results of several."""
    trials = [trial | {"metrics": by_task(trial["metrics"]).get(task, {})} for trial in results["trials"]]
    return {"task": task, "trials": trials, "summary": by_task(results["summary"]).get(task, {})}


def _weights_of(weights: dict[str, Tensor], task: str) -> dict[str, Tensor]:
    """Return the encoder's, and those of one task's head, under the names that they have where it is alone."""
    start = f"heads.{module_name_of(task)}."
    head = {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
    return {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")} | head


def choose_seed(run: Path, results: dict[str, Any], metric: str, seed: int | None = None) -> int:
    """Return `seed`; without one, that of the trial that did best on dev by `metric`. Raises UserError where the
    results of the run have no such trial."""
    scores = {trial["seed"]: trial["metrics"][metric] for trial in results["trials"]}
    if seed is None:
        return max(scores, key=scores.__getitem__)
    if seed not in scores:
        raise UserError(f"{run}: no trial with seed {seed}; its seeds: {', '.join(map(str, scores))}")
    return seed


def trial_folder(run: Path, seed: int) -> Path:
    return run / "trials" / f"seed-{seed}"
