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
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.race_noise import Noise
from benchmarks.race_rungs import BASE, RUNGS, Arm, Rung
from benchmarks.trials import Trials, in_own_process, shared_data
from bertsmith.storage.results import AVERAGED
from bertsmith.tasks.quick_glue import QUICK_TASKS
from bertsmith.training.metrics import read_metrics

SCORES = ("blimp", *QUICK_TASKS)
"""What `--scores` measures of each arm; a trial each, so that a reading that is stopped loses one task."""
AVERAGED_LOSS = f"{AVERAGED}pinned_loss"
TIMED_TOKENS = (4_000, 28_000)
"""Plans between which a speed is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rung", choices=RUNGS)
    parser.add_argument("runs", type=lambda text: Path(text.partition("=")[2]), help="runs=FOLDER")
    parser.add_argument("--questions", nargs="*", help="which ones; all of them by default")
    parser.add_argument("--arms", nargs="*", help="of them; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="arms at a time, of one thread each")
    parser.add_argument("--scores", action="store_true", help="then read GLUE quickly and BLiMP of each of them")
    parser.add_argument("--out", type=Path, help="JSON file; finished arms in it are kept")
    arguments = parser.parse_args()
    rung, trials = RUNGS[arguments.rung], Trials(arguments.out)
    arms = {name for question in arguments.questions or rung.questions for name in rung.questions.get(question, ())}
    if unknown := (set(arguments.questions or ()) - set(rung.questions)) | (set(arguments.arms or ()) - arms):
        parser.error(
            f"rung {arguments.rung} has no {', '.join(sorted(unknown))}; its questions: {', '.join(rung.questions)}"
        )
    data = prepare(arguments.runs / rung.folder, rung.vocabulary, rung.texts)
    if rung.speeds:
        speeds = {name: partial(speed, rung, data, arm) for name, arm in rung.speeds.items()}
        trials.alternate(f"{arguments.rung}, speed", speeds, repeats=3)
    for question in arguments.questions or rung.questions:
        what = f"{arguments.rung}, {question}"
        measures = {
            (what, name, seed): partial(
                run, rung, data, with_budget(arm, trials, arguments.rung), seed, f"{what} {name}"
            )
            for name, arm in rung.questions[question].items()
            for seed in arm.seeds
            if name in (arguments.arms or rung.questions[question])
        }
        trials.side_by_side(measures, arguments.jobs)
        if arguments.scores:
            readings = {
                (f"{what}, {measure}", name, seed): partial(
                    score, data.parent / folder_name(f"{what} {name}-{seed}"), measure
                )
                for measure in SCORES
                for (_, name, seed) in measures
            }
            trials.side_by_side(readings, arguments.jobs)
    print_table(trials, arguments.rung)


def prepare(folder: Path, vocabulary: int, texts: Callable[[], Iterable[tuple[str, str]]] | None = None) -> Path:
    """Return the data of `texts` (by default the docstrings of the installed packages), made if it is not there."""
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


def with_budget(arm: Arm, trials: Trials, rung: str) -> Arm:
    """Return the arm with the tokens that its minutes are, at the speed that was measured."""
    if arm.minutes is None:
        return arm
    per_second = statistics.median(trials.figures(f"{rung}, speed", arm.speed, "tokens_per_second"))
    tokens = round(arm.minutes * 60 * per_second, -3)
    return arm._replace(given=(*arm.given, f"--tokens={tokens:.0f}" if arm.peer else f"plan.tokens={tokens:.0f}"))


def speed(rung: Rung, data: Path, arm: Arm) -> dict[str, float]:
    """Return the tokens that an arm trains in a second of CPU time, without its start and its evaluations."""
    seconds = []
    for number in TIMED_TOKENS:
        with TemporaryDirectory() as folder:
            if arm.peer:
                given = (*rung.peer, *arm.given, f"--tokens={number}", "--evaluations=1")
                seconds.append(in_own_process("race_peer", str(data), folder, *given, threads=1)["cpu_seconds"])
            else:
                given = (*rung.base, *arm.given, f"plan.tokens={number}", "evaluate_rows=64", "log=[]")
                out = Path(folder, "run")
                seconds.append(bertsmith("pretrain", given[0], f"data={data}", *given[1:], "--out", out))
    return {"tokens_per_second": (TIMED_TOKENS[1] - TIMED_TOKENS[0]) / (seconds[1] - seconds[0])}


def run(rung: Rung, data: Path, arm: Arm, seed: int, name: str) -> dict[str, Any]:
    """Train an arm and return its figures."""
    out = data.parent / folder_name(f"{name}-{seed}")
    if arm.peer:
        given = [*rung.peer, *arm.given, f"--seed={seed}"]
        if not any(argument.startswith("--tokens=") for argument in given):
            given.append(f"--tokens={tokens_of(rung.base)}")
        return in_own_process("race_peer", str(data), str(out), *given, threads=1)
    return run_own(data, [*rung.base, *arm.given, f"seed={seed}"], out)


def run_own(data: Path, recipe: Sequence[str], out: Path) -> dict[str, Any]:
    """Train one of our arms: the last pinned loss, the whole curve of it, CPU seconds."""
    seconds = bertsmith("pretrain", recipe[0], f"data={data}", *recipe[1:], "log=[]", "--out", out)
    lines = read_metrics(out / "metrics.jsonl")
    curve = [[line["step"], line["tokens"], round(line["pinned_loss"], 4)] for line in lines if "pinned_loss" in line]
    last = next(line for line in reversed(lines) if "pinned_loss" in line)
    averaged = {AVERAGED_LOSS: last[AVERAGED_LOSS]} if AVERAGED_LOSS in last else {}
    return {
        "pinned_loss": last["pinned_loss"], **averaged, "bits_per_byte": last["pinned_bits_per_byte"],
        "own_loss": last["mlm_loss"], "steps": last["step"], "tokens": last["tokens"], "seconds": last["seconds"],
        "cpu_seconds": seconds, "settings": list(recipe), "curve": curve,
    }  # fmt: skip


def score(model: Path, measure: str) -> dict[str, float]:
    """Return a task's quick reading, or the accuracy on 200 pairs of each of BLiMP's paradigms, in percent."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "scores.json")
        given = [f"blimp={shared_data() / 'blimp'}", "pairs=200"]
        if measure != "blimp":
            given = [f"glue={shared_data() / 'glue'}", f"glue_tasks=['{measure}']"]
        seconds = bertsmith("evaluate", model, *given, "--out", out)
        content = json.loads(out.read_text(encoding="utf-8"))
    if measure == "blimp":
        return {"score": 100 * content["blimp"]["overall"]["accuracy"], "cpu_seconds": seconds}
    reading = content["glue"][measure]
    return {
        "score": 100 * reading["mean"], "standard_error": 100 * reading["standard_error"], "cpu_seconds": seconds
    }  # fmt: skip


def tokens_of(base: Sequence[str]) -> str:
    return next(setting.partition("=")[2] for setting in base if setting.startswith("plan.tokens="))


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
    arms = [
        trial for trial in trials.content["trials"]
        if trial["what"].startswith(f"{rung}, ") and "pinned_loss" in trial
    ]  # fmt: skip
    noise = Noise([trial["pinned_loss"] for trial in arms if trial["who"] == BASE])
    if noise.sigma is not None:
        print(f"\nbase: {noise.mean:.4f} ± {noise.sigma:.4f} ({len(noise.losses)} seeds); the bar is two of these")
    for trial in sorted(arms, key=lambda trial: trial["pinned_loss"]):
        away = noise.deviations(trial["pinned_loss"])
        sigmas = "" if away is None else f" ({away:+.1f} σ)"
        averaged = f", averaged {trial[AVERAGED_LOSS]:.4f}" if AVERAGED_LOSS in trial else ""
        print(
            f"{trial['what'].partition(', ')[2]:10} {trial['who']:22} seed {trial['number']}  "
            f"pinned {trial['pinned_loss']:.4f}{sigmas}{averaged}  {trial['bits_per_byte']:.3f} bits a byte  "
            f"{trial['cpu_seconds']:.0f} CPU s"
        )
    print_scores(trials, rung)


def print_scores(trials: Trials, rung: str) -> None:
    """Print what was scored, by measure and arm: each seed of pre-training and their mean."""
    found: dict[tuple[str, str], list[float]] = {}
    for trial in trials.content["trials"]:
        name, _, measure = trial["what"].rpartition(", ")
        if name.startswith(f"{rung}, ") and measure in SCORES:
            found.setdefault((measure, trial["who"]), []).append(trial["score"])
    for (measure, who), seeds in sorted(found.items()):
        print(f"{measure:10} {who:22} {statistics.mean(seeds):.2f} ({', '.join(f'{seed:.2f}' for seed in seeds)})")


if __name__ == "__main__":
    main()
