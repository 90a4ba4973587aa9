"""A run's folder → a Hugging Face folder, or two where it trained a generator as well."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import tomli_w

from bertsmith.config.fields import setting, settings
from bertsmith.console.shell import command
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.evals.held_out import measuring_of
from bertsmith.hub.card import CardScores, CardSettings, model_card
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.network import Network
from bertsmith.hub.onnx import check_onnx
from bertsmith.hub.sentence import SentenceModules, new_modules
from bertsmith.objectives.rtd import NETWORKS
from bertsmith.storage.files import make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import read_json
from bertsmith.storage.manifests import folder_type
from bertsmith.tasks.runs import Finetuned, chosen_run, open_trained
from bertsmith.training.averages import check_averages, with_averages
from bertsmith.training.models import Model, check_place, sentence_modules

_PATHS = ("data", "init", "model", "blimp", "corpus", "vocab")
"""Settings of recipes that name a file or folder."""


@settings
class ExportSettings:
    """The settings of `bertsmith export`."""

    card: CardSettings = setting(CardSettings(), "for the model card")
    averaged: bool = setting(False, "of a pre-training run: the moving average of its weights (average_decay)")
    mean_of: int = setting(1, "of a pre-training run: the mean of its newest checkpoints, this many", ge=1)
    pooling: Literal["mean", "cls"] | None = setting(
        None,
        "how sentence-transformers makes a vector of a text by it: mean, of all its tokens' vectors, or cls; left out: "
        "as by the model that it began as, if that says so",
    )
    normalize: bool = setting(False, "with pooling: these vectors have length 1")

    def __post_init__(self) -> None:
        if self.normalize and self.pooling is None:
            raise ValueError("normalize: of use with pooling=mean or pooling=cls alone")
        check_averages(self.averaged, self.mean_of)


@no_empty_folder
def export_run(
    run: Path,
    out: Path,
    opset: int | None = None,
    task: str | None = None,
    options: ExportSettings = ExportSettings(),  # noqa: B008 - frozen
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
    kind = folder_type(run, strict=True)
    if kind not in ("pretrain", "finetune"):
        remedy = f"name one of its tasks, as {run}/tasks/rte" if kind == "glue" else "name a folder that they wrote"
        raise UserError(f"{run}: neither a run of `bertsmith pretrain` nor one of `finetune`; {remedy}")
    model = open_trained(run, task)
    model = with_averages(model, options.averaged, options.mean_of)
    if isinstance(model, Finetuned):
        _export_finetuned(model, out, opset, options)
    else:
        note_unexported(model)
        write_pretrained(model, out, opset, options)
    return out


def note_unexported(model: Model) -> None:
    """Say which trained weights of an opened run an export leaves out, and why."""
    assert model.run is not None
    for why in model.run.recipe.objective.unexported.values():
        say(f"left out: {why}; {model.path} keeps them", error=True)
    for network in model.networks:
        if network.decodes_masks:
            what = network.name or "masked-token head, so what is written is the encoder, to be fine-tuned"
            why = "no Hugging Face class fills masks by its enhanced mask decoder"
            say(f"left out: the {what}: {why}; {model.path} keeps it", error=True)


def _exported(networks: Sequence[Network]) -> list[Network]:
    """Return the networks that Hugging Face's classes hold; of a masked-token model that none holds its encoder."""
    return [
        replace(network, head=None, weights=network.encoder_weights) if network.decodes_masks else network
        for network in networks
        if not (network.name and network.decodes_masks)
    ]


def how_to_load(out: Path) -> str:
    """Return a command that loads what was exported to `out`; of two networks the discriminator."""
    folder = out if (out / "config.json").exists() else out / NETWORKS[0]
    name = read_json(folder / "config.json", dict)["architectures"][0]
    path = json.dumps(str(folder), ensure_ascii=False)  # double quotes, since the shell's are single ones
    load = command("python", "-c", f"from transformers import {name}; print({name}.from_pretrained({path}))")
    return load if find_spec("transformers") else f"python -m pip install transformers && {load}"


def _modules(model: Model, options: ExportSettings) -> SentenceModules | None:
    """Return the modules of sentence-transformers for the model's export, if it is to have any."""
    if options.pooling is not None:
        return new_modules(options.pooling, options.normalize, model.network.settings, model.length)
    modules, _ = sentence_modules(model)
    return modules and modules.cut_at(model.length)


def write_pretrained(model: Model, out: Path, opset: int | None, options: ExportSettings) -> None:
    """Write an opened run to `out`, or its two networks to folders in it; see `export_run`."""
    run, path = model.run, model.path
    assert run is not None
    data, measures = run.manifest["data"], run.manifest.get("measures", {})
    networks = _exported(model.networks)
    check_place(out, [network.name for network in networks])
    described = {"documents": data["documents"], "training tokens": data["tokens"]["train"], "hash": data["hash"]}
    modules = _modules(model, options)
    for number, network in enumerate(networks):
        folder = out / network.name
        its_modules = None if number else modules
        card = model_card(
            f"{path.name}, {network.name}" if network.name else path.name,
            network,
            recipe=_recipe_text(path),
            data=described,
            results={"steps": run.step, **measures},
            onnx=opset is not None,
            settings=options.card,
            scores=CardScores(path.name, Path(run.recipe.data).name, measures),
            pooled=its_modules.description if its_modules else None,
            is_inherited=options.pooling is None,
        )
        network = replace(network, evaluation_settings=measuring_of(run.recipe).to_json())
        _note(folder, write_folder(folder, network, model.tokenizer, card=card, opset=opset, modules=its_modules))


def _export_finetuned(trial: Finetuned, out: Path, opset: int | None, options: ExportSettings) -> None:
    run, network, modules = trial.path, trial.network, _modules(trial, options)
    if not trial.recipe.exports:
        raise UserError(
            f"{run}: no Hugging Face class is like its joint head; fine-tune with answering.joint=false to export "
            f"(`bertsmith predict` asks this one)"
        )
    if trial.recipe.spec.input == "words" and trial.recipe.compat:
        raise UserError(
            f"{run}: tagged under compat, where every segment id is 1, as no one who loads it would give it; fine-tune "
            f"without compat to export"
        )
    check_place(out, [""])
    before = trial.manifest.get("learnt_before", [])
    num_seeds, summary = len(trial.results["trials"]), trial.results["summary"]
    medians = {f"{metric}, median of {num_seeds} seeds": values["median"] for metric, values in summary.items()}
    this = next(row["metrics"] for row in trial.results["trials"] if row["seed"] == trial.seed)
    card = model_card(
        run.name,
        network,
        recipe=_recipe_text(run),
        data={"task": trial.results["task"], **({"learnt before": ", ".join(before)} if before else {})},
        results={
            **(medians if num_seeds > 1 else {}),
            **{f"{metric}, this seed ({trial.seed})": value for metric, value in this.items()},
        },
        onnx=opset is not None,
        settings=options.card,
        scores=CardScores(run.name, trial.results["task"], this),
        pooled=modules.description if modules else None,
        is_inherited=False,
    )
    if network.head == "classification":
        weights, labels = trial.answer_kind.exported(network.weights)
        network = replace(network, weights=weights, labels=labels, problem_type=trial.answer_kind.problem_type)
    _note(out, write_folder(out, network, trial.tokenizer, card=card, opset=opset, modules=modules))


def _note(folder: Path, difference: float | None) -> None:
    if difference is not None:
        say(f"{folder / 'model.onnx'}: onnxruntime's logits are within {difference:.1e} of ours", error=True)


def _recipe_text(run: Path) -> str:
    """Return the recipe, with the names of files and folders for their paths: where they lay is private."""
    return tomli_w.dumps(_without_places(tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))))


def _without_places(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_places(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_places(entry, key) for entry in value]
    is_path = isinstance(value, str) and (key in _PATHS or value.startswith(("/", "~", "./", "../")))
    return Path(value).name if is_path else value
