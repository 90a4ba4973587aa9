"""Run folders as `pretrain`, `finetune` and `glue` leave them."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest
import tomli_w

from bertsmith.reports.averages import PROTOCOLS, average
from bertsmith.storage.manifests import write_manifest

PRETRAIN_RECIPE = {
    "data": "data/owt",
    "batch_size": 128,
    "compat": False,
    "model": {"hidden_size": 256, "num_hidden_layers": 12, "embedding_size": 128},
    "rows": {"length": 128},
    "schedule": {"learning_rate": 5e-4},
    "plan": {"steps": 1000},
}


def lines_of(num_steps: int, every: int = 10) -> list[dict[str, Any]]:
    """What a pre-training run measures, held-out every tenth time."""
    lines = []
    for step in range(every, num_steps + 1, every):
        head = {"step": step, "tokens": step * 16_000, "seconds": step * 0.25}
        loss = 2 + 8 / step
        rates = {"learning_rate": 1e-4, "tokens_per_second": 64_000.0, "mfu": 0.3, "memory_bytes": 2**31}
        lines.append({"split": "train", **head, "mlm_loss": loss, **rates, "skipped_steps": 0})
        if step % (10 * every) == 0:
            measures = {"mlm_loss": loss, "mlm_perplexity": 7.4, "word_order_accuracy": 0.6}
            lines.append({"split": "heldout", **head, **measures})
    return lines


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_pretrain(folder: Path, recipe: dict[str, Any] = PRETRAIN_RECIPE, num_steps: int = 1000) -> Path:
    write_lines(folder, lines_of(num_steps))
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    data = {"path": "data/owt", "tokens": {"train": 8_100_000_000, "heldout": 42_000_000}, "documents": 8_013_769}
    environment = {"bertsmith": "0", "torch": "2.13.0", "python": "3.11.2", "machine": "a GPU"}
    content = {"data": data, "vocab_size": 30522, "environment": environment, "finished": num_steps == 1000}
    write_manifest(folder, "pretrain", content)
    return folder


def make_finetune(
    folder: Path, task: str, metrics: dict[str, list[float]], recipe: dict[str, Any] | None = None
) -> Path:
    """`metrics` holds a score a seed."""
    folder.mkdir(parents=True)
    recipe = {"task": task, "model": "runs/small", "seeds": 3, "epochs": 3.0, "batch_size": 32} | (recipe or {})
    (folder / "recipe.toml").write_text(tomli_w.dumps(recipe))
    trials = [
        {"seed": seed, "metrics": dict(zip(metrics, scores, strict=True))}
        for seed, scores in enumerate(zip(*metrics.values(), strict=True))
    ]
    for trial in trials:
        line = {"split": "train", "step": 50, "tokens": 5000, "seconds": 60.0, "loss": 0.5, "learning_rate": 1e-4}
        write_lines(folder / "trials" / f"seed-{trial['seed']}", [line, line | {"step": 100, "loss": 0.4}])
    summary = {name: {"median": median(row), "mean": mean(row), "std": 0.01} for name, row in metrics.items()}
    (folder / "results.json").write_text(json.dumps({"task": task, "trials": trials, "summary": summary}))
    content = {"task": task, "metrics": list(metrics), "examples": {"train": 8551, "dev": 1043}, "finished": True}
    write_manifest(folder, "finetune", content)
    return folder


def make_glue(
    folder: Path,
    scores: dict[str, dict[str, list[float]]],
    *,
    from_mnli: tuple[str, ...] = (),
    absent: dict[str, str] | None = None,
    departures: tuple[str, ...] = (),
    model: str = "runs/small",
) -> Path:
    """`scores` holds task → metric → a score a seed."""
    folder.mkdir(parents=True)
    tasks = {}
    for task, metrics in scores.items():
        made = json.loads((make_finetune(folder / "tasks" / task, task, metrics) / "results.json").read_text())
        if len(made["trials"]) == 1:
            for row in made["summary"].values():
                del row["std"]
        tasks[task] = {"from_mnli": task in from_mnli, "trials": made["trials"], "summary": made["summary"]}
    averages = {name: average(protocol, tasks, departures) for name, protocol in PROTOCOLS.items()}
    results = {"model": model, "tasks": tasks, "absent": absent or {}, "averages": averages}
    (folder / "results.json").write_text(json.dumps(results))
    settings = {"data": "data/glue", "protocol": "reference", "from_mnli": bool(from_mnli)}
    identity = {"model": "0" * 64, "epochs": {task: 10.0 if task == "rte" else 3.0 for task in scores}}
    write_manifest(folder, "glue", {"identity": identity, "settings": settings, "model": model, "finished": not absent})
    return folder


@pytest.fixture(name="make_pretrain")
def make_pretrain_fixture() -> Callable[..., Path]:
    return make_pretrain


@pytest.fixture(name="make_finetune")
def make_finetune_fixture() -> Callable[..., Path]:
    return make_finetune


@pytest.fixture(name="make_glue")
def make_glue_fixture() -> Callable[..., Path]:
    return make_glue


@pytest.fixture
def pretrain_run(tmp_path: Path) -> Path:
    return make_pretrain(tmp_path / "small")


@pytest.fixture
def finetune_run(tmp_path: Path) -> Path:
    return make_finetune(tmp_path / "small-cola", "cola", {"mcc": [0.431, 0.456, 0.462]})
