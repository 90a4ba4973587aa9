"""A run on made text with its GLUE runs on made tasks, as an entry of the record is made of; and forged entries."""

import json
from pathlib import Path
from typing import Any

import pytest

from bertsmith.evals.pinned import probes_of
from bertsmith.records import rules
from bertsmith.storage.code_version import code_version
from bertsmith.storage.files import sha256_file
from bertsmith.sweeps.glue import run_glue
from bertsmith.tasks import trial
from bertsmith.tasks.published.glue import GLUE
from bertsmith.training import folder as run_folder
from bertsmith.training.pretrain import pretrain
from tests.tasks.texts.toy_glue import SIZES, write_glue
from tests.toys import make_data, tiny_recipe

GPU = "NVIDIA H200"
CODE = code_version()._replace(commit="c0de" * 10)
"""Of a checkout, wherever the tests run."""


def make_runs(folder: Path, *tasks: str, seeds: int = 5) -> Path:
    """Write `folder`/run, /reference and /cramming, whose trials have a step each. The run says that it was trained on
    a GPU, by code of a commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "_name", lambda device: GPU)
        patch.setattr(run_folder, "code_version", lambda: CODE)
        patch.setattr(trial, "num_steps", lambda recipe, num_rows: 1)
        recipe = tiny_recipe(make_data(folder).path, "model.max_position_embeddings=128", "rows.length=128")
        pretrain(recipe, folder / "run", probes=probes_of(recipe))
        data = write_glue(folder / "glue", *tasks)
        for protocol in ("reference", "cramming"):
            settings = [f"data={data}", f"seeds={seeds}", "check_counts=false", "machine.device=cpu"]
            run_glue(folder / "run", [*settings, f"protocol={protocol}"], folder / protocol)
        return folder


def accept_toy_tasks(patch: pytest.MonkeyPatch) -> None:
    """Make the made tasks' numbers of examples the published ones."""
    counts = {split: (size,) for split, size in SIZES.items()}
    patch.setattr(rules, "GLUE", {task: layout._replace(counts=counts) for task, layout in GLUE.items()})


def rehash(entry: Path) -> None:
    """Give the manifest of an entry the hashes that its files have now, as a forger would."""
    path = entry / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: sha256_file(entry / name) for name in manifest["files"] if (entry / name).is_file()}
    path.write_text(json.dumps(manifest))


def edit(path: Path, key: str, value: Any) -> None:
    """Set the dotted `key` of a JSON file; a number is an index of a list, and a slash stands for a point in a key."""
    content = json.loads(path.read_text())
    *parts, last = [part.replace("/", ".") for part in key.split(".")]
    holder = content
    for part in parts:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    if isinstance(holder, list):
        holder[int(last)] = value
    elif value is None:
        holder.pop(last)
    else:
        holder[last] = value
    path.write_text(json.dumps(content))
