"""The race: which choice learns more per second. The rules are in docs/race.md.

    python -m benchmarks.race A runs=FOLDER [--questions masks optimizer] [--jobs 2] [--out benchmarks/race.json]

A question is a set of arms that differ from the rung's base in a few settings. Every arm is a run of `bertsmith
pretrain` with one thread, in FOLDER, and what is there is not done again. Its figures: the pinned loss at each
evaluation, the CPU time of the whole process and of a step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.trials import Trials, in_own_process


class Rung(NamedTuple):
    """A text, a model and a budget."""

    base: Sequence[str]
    """The recipe and its settings that arms are laid over."""
    vocabulary: int
    questions: dict[str, dict[str, Sequence[str]]]
    peers: dict[str, Sequence[str]]
    """Arguments of `benchmarks.race_peer`: the question "peers"."""
    seeds: Sequence[int] = (0, 1, 2)
    """Of the base, whose spread is the noise; other arms have the first."""


BASE = "base"
MUON = ("optimizer.kind=muon",)
TUNED = ("--batch-size=16", "--beta2=0.98", "--warmup=0.1")
"""A peer's settings that are ours, beside its rate."""
POST_NORM = ("model.kind=classic",)

A = Rung(
    base=("quickstart", "plan.tokens=1200000", "plan.evaluate_steps=200", "plan.checkpoint_steps=100000"),
    vocabulary=8000,
    questions={
        "noise": {BASE: ()},
        "rate": {f"AdamW {rate}": (f"schedule.learning_rate={rate}",) for rate in ("1e-3", "4e-3", "6e-3")},
        "block": {
            f"post-norm {rate}": (*POST_NORM, f"schedule.learning_rate={rate}") for rate in ("5e-4", "1e-3", "2e-3")
        },
        "optimizer": {
            f"Muon {rate} × {factor}": (*MUON, f"schedule.learning_rate={rate}", f"optimizer.matrix_rate={factor}")
            for rate, factor in (("2e-3", 1), ("4e-3", 1), ("8e-3", 1), ("2e-3", 2), ("4e-3", 2), ("4e-3", 0.5))
        },
        "memory": {
            "β2 0.95": ("optimizer.beta2=0.95",), "β2 0.999": ("optimizer.beta2=0.999",),
            "no bias correction": ("optimizer.bias_correction=false",),
        },
        "masks": {
            "20 %": ("objective.masking.prob=0.2",), "30 %": ("objective.masking.prob=0.3",),
            "30 to 15 %": ("objective.masking.prob=0.3", "objective.masking.final_prob=0.15"),
            "all [MASK]": ("objective.masking.mask_token_prob=1.0", "objective.masking.random_token_prob=0.0"),
        },
        "more masks": {
            "40 %": ("objective.masking.prob=0.4",),
            "40 to 15 %": ("objective.masking.prob=0.4", "objective.masking.final_prob=0.15"),
            "30 %, all [MASK]": (
                "objective.masking.prob=0.3", "objective.masking.mask_token_prob=1.0",
                "objective.masking.random_token_prob=0.0",
            ),
        },
        "schedule": {
            "cosine": ("schedule.kind=cosine",), "one minus sqrt": ("schedule.kind=one_minus_sqrt",),
            "wsd 0.3": ("schedule.kind=wsd", "schedule.decay_proportion=0.3"),
            "warm-up 0.03": ("schedule.warmup_proportion=0.03",),
        },
        "batch": {
            "8 rows": ("batch_size=8",), "8 rows, 1.4e-3": ("batch_size=8", "schedule.learning_rate=1.4e-3"),
            "32 rows, 3e-3": ("batch_size=32", "schedule.learning_rate=3e-3"),
        },
    },
    peers={
        "run_mlm's defaults": (),
        **{
            f"{network} {rate}": (f"--network={network}", f"--rate={rate}", *TUNED)
            for network, rates in (("bert", ("5e-4", "1e-3", "2e-3")), ("modernbert", ("1e-3", "2e-3", "4e-3")))
            for rate in rates
        },
    },
)  # fmt: skip

RUNGS = {"A": A}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rung", choices=RUNGS)
    parser.add_argument("runs", type=lambda text: Path(text.partition("=")[2]), help="runs=FOLDER")
    parser.add_argument("--questions", nargs="*", help="which ones; all of them by default")
    parser.add_argument("--jobs", type=int, default=2, help="arms at a time, of one thread each")
    parser.add_argument("--out", type=Path, help="JSON file; finished arms in it are kept")
    arguments = parser.parse_args()
    rung, trials = RUNGS[arguments.rung], Trials(arguments.out)
    data = prepare(arguments.runs / arguments.rung, rung.vocabulary)
    for question in arguments.questions or (*rung.questions, "peers"):
        what = f"{arguments.rung}, {question}"
        arms = {
            (what, name, 0): partial(run_peer, data, [*peer_budget(rung), *given], name)
            for name, given in (rung.peers if question == "peers" else {}).items()
        } | {
            (what, name, seed): partial(run_arm, data, [*rung.base, *settings, f"seed={seed}"], f"{name}-{seed}")
            for name, settings in rung.questions.get(question, {}).items()
            for seed in (rung.seeds if name == BASE else rung.seeds[:1])
        }
        trials.side_by_side(arms, arguments.jobs)
    print_table(trials, arguments.rung)


def prepare(folder: Path, vocabulary: int, texts: Callable[[], Iterable[tuple[str, str]]] | None = None) -> Path:
    """Return the rung's data, made of `texts` (by default the docstrings of the installed packages) if it is not
    there."""
    from bertsmith.quickstart.task import write_texts
    from bertsmith.text.docstrings import documents

    data = folder / "data"
    if not (data / "manifest.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        corpus = folder / "corpus.jsonl"
        write_texts(corpus, list((texts or documents)()))
        given = (f"corpus={corpus}", "heldout_fraction=0.025")
        bertsmith("tokenizer", "jsonl", *given, f"size={vocabulary}", "--out", folder / "vocab")
        bertsmith("prepare", "jsonl", *given, f"vocab={folder / 'vocab'}", "--out", data)
    return data


def run_arm(data: Path, recipe: Sequence[str], name: str) -> dict[str, Any]:
    """Train an arm and return its figures: the last pinned loss, the whole curve of it, CPU seconds."""
    out = data.parent / folder_name(name)
    seconds = bertsmith("pretrain", recipe[0], f"data={data}", *recipe[1:], "log=[]", "--out", out)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [[line["step"], line["tokens"], round(line["pinned_loss"], 4)] for line in lines if "pinned_loss" in line]
    last = next(line for line in reversed(lines) if "pinned_loss" in line)
    return {
        "pinned_loss": last["pinned_loss"], "bits_per_byte": last["pinned_bits_per_byte"], "own_loss": last["mlm_loss"],
        "steps": last["step"], "tokens": last["tokens"], "seconds": last["seconds"], "cpu_seconds": seconds,
        "settings": list(recipe), "curve": curve,
    }  # fmt: skip


def run_peer(data: Path, given: Sequence[str], name: str) -> dict[str, Any]:
    """Train a peer in a process of its own and return its figures."""
    return in_own_process("race_peer", str(data), str(data.parent / folder_name(f"peer {name}")), *given, threads=1)


def peer_budget(rung: Rung) -> list[str]:
    """Return the base's tokens, as arguments of the peer."""
    tokens = next(setting.partition("=")[2] for setting in rung.base if setting.startswith("plan.tokens="))
    return [f"--tokens={tokens}"]


def folder_name(name: str) -> str:
    """Return an arm's name as that of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def bertsmith(*arguments: object) -> float:
    """Run a command with one thread; return the CPU seconds that it took."""
    command = [sys.executable, "-m", "bertsmith", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def print_table(trials: Trials, rung: str) -> None:
    """Print every arm by its pinned loss, with the distance to the base in standard deviations of the base's seeds."""
    arms = [trial for trial in trials.content["trials"] if trial["what"].startswith(f"{rung}, ")]
    base = [trial["pinned_loss"] for trial in arms if trial["who"] == BASE]
    noise = statistics.stdev(base) if len(base) > 1 else float("nan")
    print(f"\nbase: {statistics.mean(base):.4f} ± {noise:.4f} ({len(base)} seeds); the bar is two of these")
    for trial in sorted(arms, key=lambda trial: trial["pinned_loss"]):
        sigmas = (trial["pinned_loss"] - statistics.mean(base)) / noise
        print(
            f"{trial['what'].partition(', ')[2]:10} {trial['who']:22} seed {trial['number']}  "
            f"pinned {trial['pinned_loss']:.4f} ({sigmas:+.1f} σ)  {trial['cpu_seconds']:.0f} CPU s"
        )


if __name__ == "__main__":
    main()
