"""A pre-training run's folder: made for a recipe, recognised again, and closed when the plan is done."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from bertsmith import __version__
from bertsmith.claim import Kind, claim
from bertsmith.config import identity, to_dict, to_toml
from bertsmith.files import write_text
from bertsmith.json_files import finite
from bertsmith.manifests import read_manifest, write_manifest
from bertsmith.progress import format_count, format_seconds
from bertsmith.terminal import say
from bertsmith.text.shards import Data
from bertsmith.training import checkpoints
from bertsmith.training.loop import State
from bertsmith.training.machine import Machine
from bertsmith.training.plan import Plan
from bertsmith.training.recipe import PretrainRecipe

FOLDER = Kind("pretrain", ("checkpoints", "tensorboard", "metrics.jsonl"), ("recipe.toml", "tokenizer.json"))


def open_run(
    run: Path, recipe: PretrainRecipe, data: Data, machine: Machine, inputs: dict[str, str], overwrite: bool = False
) -> checkpoints.Checkpoint | None:
    """Check that `run` is the folder of this recipe, this data and these other inputs (name → fingerprint), or make it
    so; returns the checkpoint to go on from.

    Raises:
        UserError: as `claim`. A plan that is not done may be lengthened.
    """
    mine = json.loads(json.dumps(identity(recipe) | {"data": data.hash} | inputs))
    before = claim(run, FOLDER, mine, recipe, overwrite, _only_lengthens)
    checkpoints.remove_partial(run)
    found = checkpoints.load_newest(run)
    if found is not None:
        checkpoints.remove_newer(run, found)
    described = {
        "identity": mine,
        "recipe": to_dict(recipe),
        "data": _describe(data),
        "vocab_size": data.tokenizer.vocab_size,
        "environment": {
            "bertsmith": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": _name(machine.device),
        },
    }
    write_manifest(run, "pretrain", {"finished": False, **before, **described})
    # Behind the manifest: killed between them, the folder is known for ours.
    write_text(run / "recipe.toml", to_toml(recipe))
    data.tokenizer.save(run)
    return found


def finish_run(run: Path, state: State, measures: dict[str, float]) -> dict[str, Any]:
    """Note in the manifest that the plan is done and what was measured last; returns that."""
    manifest = read_manifest(run, "pretrain")
    summary = {
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "skipped_steps": state.skipped,
        "measures": finite(measures) or manifest.get("measures", {}),
    }
    write_manifest(run, "pretrain", manifest | summary | {"finished": True})
    skipped = f", {state.skipped} steps skipped" if state.skipped else ""
    say(
        f"{state.step:,} steps, {format_count(state.tokens)} tokens, {format_seconds(state.seconds)}{skipped}",
        error=True,
    )
    return summary


def _only_lengthens(manifest: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a run differs in nothing but a plan of the same unit that now ends later. Once the plan is done its
    learning rate has been at zero, and a longer one would be another run."""
    if manifest.get("finished"):
        return False
    before = json.loads(json.dumps(manifest["identity"]))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    units = {f"plan.{unit}" for unit in Plan.exclusive}
    return changed <= units and all((after.get(key) or 0) > (before.get(key) or float("inf")) for key in changed)


def _describe(data: Data) -> dict[str, Any]:
    tokens = {split: data.num_tokens(split) for split in ("train", "heldout")}
    return {"path": str(data.path), "hash": data.hash, "tokens": tokens, "documents": data.num_documents("train")}


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
