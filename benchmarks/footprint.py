"""How near `planning/estimate.py` comes to the memory that a training step takes.

    python -m benchmarks.footprint [--device cuda] --out footprint.json
    python -m benchmarks.footprint --process --out footprint-process.json

With --process what `plan` says of the CPU, "promised", against the peak of a whole `bertsmith pretrain`, of 60 steps on
made-up text. Without it full rows of random tokens: "counted" is the estimate, "tensors" what torch holds at the peak
of the third step, weights and moments included, "process" by how much the process had grown after two (on the CPU).
Each measurement has a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.trials import Trials, in_own_process, parser_of
from bertsmith.config.loading import load
from bertsmith.encoders.config import Precision
from bertsmith.encoders.encoder import num_parameters
from bertsmith.memory import peak_bytes
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import Batch
from bertsmith.planning.estimate import estimate
from bertsmith.planning.footprint import StepMemory
from bertsmith.randomness import derived_rng
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.segments import PackedRows
from bertsmith.training.machine import choose_machine
from bertsmith.training.optimizers.optimizer import build_optimizer, clip_gradients
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

VOCAB_SIZE = 30_522
CASES = {
    "tiny, 32 rows": ("bert-tiny", "batch_size=32"),
    "mini with dropout, 32 rows": (
        "bert-mini", "batch_size=32", "model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1"
    ),
    "small, 16 rows": ("bert-small-owt", "batch_size=16"),
    "small, 32 rows": ("bert-small-owt", "batch_size=32"),
    "small, 64 rows": ("bert-small-owt", "batch_size=64"),
    "ELECTRA-small, 8 rows": ("electra-small-owt", "batch_size=8"),
    "ELECTRA-small, 32 rows": ("electra-small-owt", "batch_size=32"),
    "ELECTRA-small, 64 rows": ("electra-small-owt", "batch_size=64"),
}  # fmt: skip


PROCESSES = {
    "tiny": ("bert-tiny",),
    "mini, 32 rows": ("bert-mini", "batch_size=32"),
    "MiniLM's size, 32 rows": (
        "bert-base", "model.hidden_size=384", "model.num_hidden_layers=6", "model.num_attention_heads=12",
        "batch_size=32",
    ),
    "modern 7 × 256, 32 rows of 128": ("modern-7x256", "batch_size=32", "rows.length=128"),
    "ELECTRA-small, 32 rows": ("electra-small-owt", "batch_size=32"),
}  # fmt: skip
STEPS = 60


def main() -> None:
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--process", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PROCESSES, default=list(PROCESSES), help="of --process")
    parser.add_argument("--measure", metavar="WHAT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.device)))
        return
    trials = Trials(arguments.out)
    for what in arguments.only if arguments.process else ():
        trials.alternate(what, {"bertsmith": partial(measure_process, *PROCESSES[what])}, arguments.repeats)
    for what in CASES if not arguments.process else ():
        own = partial(in_own_process, "footprint", "--device", arguments.device, "--measure", what)
        trials.alternate(what, {"bertsmith": own}, arguments.repeats)


def measure(what: str, device: str) -> dict[str, float]:
    name, *overrides = CASES[what]
    recipe = load(PretrainRecipe, "pretrain", name, ["data=none", f"machine.device={device}", *overrides]).settings
    machine, length = choose_machine(recipe.machine), recipe.rows.length
    (torch.randn(500, 500, requires_grad=True) @ torch.randn(500, 500)).sum().backward()  # libraries are loaded
    before = peak_bytes()
    vocabulary = MaskingVocabulary(VOCAB_SIZE, 103, (103,))
    objective = recipe.objective.build(recipe.model, vocabulary).train()
    runner = Runner(objective, machine)
    optimizer = build_optimizer(objective, recipe.optimizer)
    batch = random_batch(recipe, vocabulary)

    def step() -> None:
        runner.gradients(runner.prepare(batch, length))
        clip_gradients(objective, 1.0)
        optimizer.step()

    step()
    step()
    process = peak_bytes() - before
    precision = Precision(half=machine.dtype != torch.float32, cuda=machine.device.type == "cuda")
    counted = StepMemory(recipe, objective).footprint(precision).total
    if precision.cuda:
        step()
        tensors = torch.cuda.max_memory_allocated()
    else:
        tensors = 12 * num_parameters(objective) + peak_of_tensors(step)
    figures = {"counted MB": counted / 1e6, "tensors MB": tensors / 1e6, "counted / tensors": counted / tensors}
    return figures if precision.cuda else figures | {"process MB": process / 1e6}


def random_batch(recipe: PretrainRecipe, vocabulary: MaskingVocabulary) -> Batch:
    """Return a masked batch of full rows of random tokens."""
    length, rng = recipe.rows.length, np.random.default_rng(0)
    size = recipe.batch_size * length
    rows = PackedRows(
        rng.integers(1000, vocabulary.size, size), np.zeros(size, np.int64), np.full(recipe.batch_size, length)
    )
    return recipe.objective.collator(vocabulary, length, recipe.compat)(rows, derived_rng(0, "masks"))


PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and writes its peak, in kB. A small process between: Linux counts in a process's peak that of the one
it was started from, as it was then."""


def measure_process(recipe: str, *overrides: str, steps: int = STEPS) -> dict[str, float]:
    """Train for some steps in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = [
            f"data={make_data(folder)}", *overrides, f"plan.steps={steps}", "machine.device=cpu", "evaluate_rows=64",
            f"plan.evaluate_steps={steps // 2}",
        ]  # fmt: skip
        with open(folder / "said.txt", "wb") as said_to:
            command = [sys.executable, "-m", "bertsmith", "pretrain", recipe, *said, "--out", str(folder / "run")]
            counted = [sys.executable, "-c", PEAK, str(folder / "peak.txt"), *command]
            ended = subprocess.run(counted, stdout=said_to, stderr=said_to)
        if ended.returncode:
            raise SystemExit((folder / "said.txt").read_text(encoding="utf-8"))
        peak = int((folder / "peak.txt").read_text(encoding="utf-8")) * 1024
        promised = estimate(recipe, said).memory_on_cpu.process
    return {"promised MB": promised / 1e6, "process MB": peak / 1e6, "promised / process": promised / peak}


def make_data(folder: Path) -> Path:
    """A data folder with a vocabulary of BERT's size and documents of made-up words, some shorter than a row."""
    words = [f"w{number}" for number in range(VOCAB_SIZE - 5)]
    vocabulary = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    (folder / "vocab.txt").write_text(vocabulary + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    with open(folder / "documents.jsonl", "w", encoding="utf-8") as file:
        for _ in range(2000):
            lines = [" ".join(rng.choice(words, rng.integers(5, 40))) for _ in range(rng.integers(1, 40))]
            file.write(json.dumps({"text": "\n".join(lines)}) + "\n")
    said = [f"corpus={folder / 'documents.jsonl'}", f"vocab={folder / 'vocab.txt'}", "heldout_fraction=0.05"]
    return prepare(load(PrepareRecipe, "prepare", "jsonl", [*said, "workers=1"]).settings, folder / "data").path


def peak_of_tensors(step) -> float:
    """Most bytes that `step` holds at a time, beyond those it began with."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    moved = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return float(np.cumsum([number for _, number in moved]).max())


if __name__ == "__main__":
    main()
