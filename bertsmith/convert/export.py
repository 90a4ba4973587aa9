"""A run's folder → a Hugging Face folder, or two where it trained a generator as well."""

import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.console.shell import command
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.evals.measuring import measuring_of
from bertsmith.hub.card import CardSettings, Measured, model_card
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.names import Head
from bertsmith.hub.onnx import check_onnx
from bertsmith.hub.sentence import KEPT, kept_modules
from bertsmith.objectives.rtd import NETWORKS, has_two_towers
from bertsmith.storage.files import make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import read_json
from bertsmith.storage.manifests import known_kind
from bertsmith.tasks.runs import Finetuned, chosen_run, load_trial
from bertsmith.training.models import check_place
from bertsmith.training.runs import load_run

_PATHS = ("data", "init", "model", "blimp", "corpus", "vocab")
"""Settings of recipes that name a file or folder."""

HEADS: dict[str, Head] = {"texts": "classification", "words": "tagging", "questions": "answering"}
"""Of a fine-tuned model, by what it was given answers for."""


@settings
class ExportSettings:
    """What `bertsmith export` can be told besides the run."""

    card: CardSettings = setting(CardSettings(), "for the model card")


@no_empty_folder("out")
def export_run(
    run: Path,
    out: Path,
    opset: int | None = None,
    task: str | None = None,
    told: ExportSettings = ExportSettings(),  # noqa: B008 - frozen
) -> Path:
    """Write the newest checkpoint of a pre-training run, or the best trial of a fine-tuning run, to `out`; of a search,
    that of the run which it chose. A run with two networks gives the folders `discriminator` and `generator` in it.
    With an `opset`, each folder has a model.onnx.

    Args:
        task: which one, of a run of several tasks.

    Raises:
        UserError: `run` is neither, has no weights yet, or has a head that no Hugging Face class is like; or no ONNX
            file of this opset can be written here; or there is no such task, or none is named of several; or `out`
            holds another model, or what is not ours to replace.
    """
    if opset is not None:
        check_onnx(opset)
    if not run.exists():
        raise UserError(f"{run}: no such folder")
    make_folder(out.resolve().parent)
    run = chosen_run(run)
    kind = known_kind(run)
    if task is not None and kind != "finetune":
        raise UserError(f"{run}: --task {task} is of use with a fine-tuning run of several tasks alone")
    if kind == "pretrain":
        _export_pretrained(run, out, opset, told.card)
    elif kind == "finetune":
        _export_finetuned(run, out, opset, task, told.card)
    else:
        remedy = f"name one of its tasks, as {run}/tasks/rte" if kind == "glue" else "name a folder that they wrote"
        raise UserError(f"{run}: neither a run of `bertsmith pretrain` nor one of `finetune`; {remedy}")
    return out


def how_to_load(out: Path) -> str:
    """A command that loads what was exported to `out`; of two networks the discriminator."""
    folder = out if (out / "config.json").exists() else out / NETWORKS[0]
    name = read_json(folder / "config.json", dict)["architectures"][0]
    return command("python", "-c", f"from transformers import {name}; {name}.from_pretrained({str(folder)!r})")


def _export_pretrained(run: Path, out: Path, opset: int | None, told: CardSettings) -> None:
    found = load_run(run)
    data = found.manifest["data"]
    if has_two_towers(found.weights):
        say(
            f"left out: the generator, since no Hugging Face class is like its two towers; {run} keeps them", error=True
        )
    check_place(out, [network.name for network in found.networks])
    described = {"documents": data["documents"], "training tokens": data["tokens"]["train"], "hash": data["hash"]}
    first, *_ = found.networks
    modules = kept_modules(found.manifest.get(KEPT), first.settings, str(run / "manifest.json"))
    modules = modules and modules.cut_at(found.recipe.rows.length)
    for network in found.networks:
        folder = out / network.name
        make_folder(folder.resolve().parent)
        own_modules = modules if network.name == first.name else None
        card = model_card(
            f"{run.name}, {network.name}" if network.name else run.name,
            head=network.head,
            recipe=_recipe_text(run),
            data=described,
            results={"steps": found.step, **found.manifest.get("measures", {})},
            trained_length=found.recipe.rows.length,
            onnx=opset is not None,
            is_energy_head=network.is_energy_head,
            told=told,
            measured=Measured(run.name, Path(found.recipe.data).name, found.manifest.get("measures", {})),
            pooled=None if own_modules is None else own_modules.description,
        )
        difference = write_folder(
            folder,
            family=network.family,
            settings=network.settings,
            vocab_size=found.vocab_size,
            head=network.head,
            weights=network.weights,
            tokenizer_folder=run,
            labels=None,
            card=card,
            trained_length=found.recipe.rows.length,
            is_energy_head=network.is_energy_head,
            opset=opset,
            measured=asdict(measuring_of(found.recipe)),
            modules=own_modules,
        )
        _say(folder, difference)


def _export_finetuned(run: Path, out: Path, opset: int | None, task: str | None, told: CardSettings) -> None:
    trial = load_trial(run, task=task)
    if not trial.recipe.exports:
        raise UserError(
            f"{run}: no Hugging Face class is like its joint head; fine-tune with answering.joint=false to export "
            f"(`bertsmith predict` asks this one)"
        )
    if trial.recipe.kind == "words" and trial.recipe.compat:
        raise UserError(
            f"{run}: tagged under compat, where every segment id is 1, as no one who loads it would give it; fine-tune "
            f"without compat to export"
        )
    check_place(out, [""])
    head, before = HEADS[trial.recipe.kind], trial.manifest.get("learnt_before", [])
    num_seeds, summary = len(trial.results["trials"]), trial.results["summary"]
    medians = {f"{metric}, median of {num_seeds} seeds": values["median"] for metric, values in summary.items()}
    this = next(found["metrics"] for found in trial.results["trials"] if found["seed"] == trial.seed)
    card = model_card(
        run.name,
        head=head,
        recipe=_recipe_text(run),
        data={"task": trial.results["task"], **({"learnt before": ", ".join(before)} if before else {})},
        results={
            **(medians if num_seeds > 1 else {}),
            **{f"{metric}, this seed ({trial.seed})": value for metric, value in this.items()},
        },
        trained_length=trial.trained_length,
        onnx=opset is not None,
        told=told,
        measured=Measured(run.name, trial.results["task"], this),
    )
    weights, labels = trial.weights, list(trial.labels)
    if head == "classification" and not labels:
        weights, labels = _in_units_of_the_answers(trial), ["score"]
    difference = write_folder(
        out,
        family=trial.family,
        settings=trial.encoder,
        vocab_size=trial.vocab_size,
        head=head,
        weights=weights,
        tokenizer_folder=run,
        labels=labels or None,
        multi_label=trial.multi_label,
        card=card,
        trained_length=trial.trained_length,
        opset=opset,
        finetuned_on=[*before, *trial.manifest.get("tasks", [trial.results["task"]])],
    )
    _say(out, difference)


def _say(folder: Path, difference: float | None) -> None:
    if difference is not None:
        say(f"{folder / 'model.onnx'}: onnxruntime's logits are within {difference:.1e} of ours", error=True)


def _in_units_of_the_answers(trial: Finetuned) -> dict[str, Tensor]:
    """A regression's weights, its last layer changed to answer on the task's own scale instead of 0 to 1."""
    low, high = trial.manifest["low"], trial.manifest["high"]
    weight, bias = (trial.weights[f"head.output.{name}"] for name in ("weight", "bias"))
    return trial.weights | {
        "head.output.weight": weight * (high - low), "head.output.bias": bias * (high - low) + low,
    }  # fmt: skip


def _recipe_text(run: Path) -> str:
    """The recipe, with the names of files and folders for their paths: where they lay is nobody's concern."""
    return tomli_w.dumps(_without_places(tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))))


def _without_places(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_places(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_places(entry, key) for entry in value]
    is_path = isinstance(value, str) and (key in _PATHS or value.startswith(("/", "~", "./", "../")))
    return Path(value).name if is_path else value
