"""A fine-tuning run's folder, read: what `export` and the Python user start from."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bertsmith.config import check
from bertsmith.errors import UserError
from bertsmith.files import read_manifest
from bertsmith.interop.configuration import family_of
from bertsmith.interop.names import Family
from bertsmith.model.config import ClassicSettings, EncoderSettings
from bertsmith.schema import kinds_of
from bertsmith.tasks.recipe import FinetuneRecipe


@dataclass(frozen=True)
class Finetuned:
    """One trial of a fine-tuning run, read: what `export` starts from."""

    recipe: FinetuneRecipe
    family: Family
    """Whose head it has, for classes or for tags."""
    encoder: EncoderSettings
    vocab_size: int
    labels: tuple[str, ...]
    """Of classes or tags; empty for a regression, whose 0 and 1 stand for `manifest["low"]` and `manifest["high"]`."""
    multi_label: bool
    """Whether a text may have any number of the classes."""
    weights: dict[str, Tensor]
    """"encoder.…" and "head.…"."""
    seed: int
    results: dict[str, Any]
    manifest: dict[str, Any]


def read_recipe(run: Path) -> FinetuneRecipe:
    """The recipe of a fine-tuning run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return check(FinetuneRecipe, tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{run}: cannot be read ({error}); run `bertsmith finetune` again") from None


def load_trial(run: Path, seed: int | None = None) -> Finetuned:
    """The trial of this seed; without one, the trial that did best on dev by the task's first metric.

    Raises:
        UserError: not a fine-tuning run, no such trial, or a damaged file.
    """
    manifest, recipe = read_manifest(run, "finetune"), read_recipe(run)
    try:
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        kind = manifest["encoder"].get("kind", ClassicSettings.kind)  # runs of version 0.1.0 do not say
        encoder = check(kinds_of(EncoderSettings)[kind], manifest["encoder"])
        family = manifest.get("family", family_of(encoder))
        headline = manifest["metrics"][0]
        seed = choose_seed(run, results, headline, seed)
        weights = load_file(trial_folder(run, seed) / "model.safetensors")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{run}: cannot be read ({error}); run `bertsmith finetune` again") from None
    multi_label = manifest.get("multi_label", False)  # runs of version 0.1.0 do not say
    return Finetuned(
        recipe, family, encoder, manifest["vocab_size"], tuple(manifest["labels"]), multi_label, weights, seed, results,
        manifest,
    )  # fmt: skip


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
