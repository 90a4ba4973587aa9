"""A real run on a GPU that is lent for minutes at a time: `fast-small` and its RTD twin against tuned HF and the
reference's recipe, at equal operations, then five tasks of GLUE over five seeds and all of BLiMP.

    python -m benchmarks.gpu_run prepare WORK --flops 5e16      here: text → shards, cut into WORK/pieces/0, 1, …
    python -m benchmarks.gpu_run unpack WORK/pieces/0 WORK      there, once a piece; they stay until all have come
    python -m benchmarks.gpu_run train WORK --minutes 9         there, again and again: goes on where it was
    python -m benchmarks.gpu_run measure WORK --minutes 9       there, likewise; or here, with --device cpu
    python -m benchmarks.gpu_run carry WORK OUT                 there: checkpoints and scores in pieces of 15 MiB
    python -m benchmarks.gpu_run unpack OUT WORK                here, or on another such machine
    python -m benchmarks.gpu_run report WORK --out gpu-run.json

`train` works through the arms of `gpu_arms.ARMS` in their order, each in a process of its own that is asked to stop
when the time is over and saves a checkpoint then. Nothing that is finished is done again. `carry` takes what training
goes on from, and of a finished arm the model alone; `--first 4` copies the next pieces of the same cutting. `plan`
writes WORK/plan.json anew, for another budget. docs/gpus.md has the times to expect.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.deadline import FAILED, Deadline, run_until
from benchmarks.gpu import describe
from benchmarks.gpu_arms import ARMS, PLAN_FILE, command_of, make_plan, read_plan, standing_of
from benchmarks.gpu_scores import SEEDS, TASKS, measure, note_work, report
from benchmarks.pieces import MIB, collect, copy, cut, join
from benchmarks.shared_text import CORPORA, texts_of
from benchmarks.trials import Trials, shared_data

DATA_PIECES, RUN_PIECES = "data", "runs"
"""Names of what is cut."""
DATA_FILES = ("data", "glue", "blimp", PLAN_FILE)
TRIALS_FILE = "run.json"
GRACE = 40.0
"""Seconds from being asked to stop to being killed: the rest of a step, perhaps an evaluation, and a checkpoint."""


def main() -> None:
    given = _parser().parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    sys.exit(0 if STEPS[given.step](given) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    verbs = {name: steps.add_parser(name, help=(act.__doc__ or "").splitlines()[0]) for name, act in STEPS.items()}
    verbs["unpack"].add_argument("pieces", type=Path, help="folder with some of the pieces, and their JSON file")
    for verb in verbs.values():
        verb.add_argument("work", type=Path, help="folder for data, runs and scores")
    shared, corpora = shared_data(), [f"{layout}={path}" for layout, path in CORPORA.items()]
    preparing = verbs["prepare"]
    preparing.add_argument("--shared", type=Path, default=shared, help="folder with corpora/, glue/ and blimp/")
    preparing.add_argument("--corpora", nargs="+", metavar="LAYOUT=PATH", default=corpora, help="inside of that")
    preparing.add_argument("--vocabulary", type=int, default=16000)
    preparing.add_argument("--heldout", type=float, default=0.01, help="share of the documents")
    preparing.add_argument("--size", type=int, default=60, help="MiB of a piece")
    for name in ("prepare", "plan"):
        verbs[name].add_argument("--flops", type=float, required=True, help="operations of training, an arm")
    for name in ("train", "measure"):
        verbs[name].add_argument("--minutes", type=float, default=9.0, help="of the whole call")
        verbs[name].add_argument("--grace", type=float, default=GRACE, help="seconds of it that are for saving")
        verbs[name].add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    for name in ("train", "measure", "carry"):
        verbs[name].add_argument("--arms", nargs="+", metavar="ARM", help="only these; see gpu_arms.py")
    measuring = verbs["measure"]
    measuring.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    measuring.add_argument("--seeds", type=int, default=SEEDS)
    measuring.add_argument("--jobs", type=int, default=8, help="tasks at a time")
    measuring.add_argument("--settings", nargs="+", metavar="KEY=VALUE", default=(), help="of fine-tuning")
    verbs["carry"].add_argument("out", type=Path)
    verbs["carry"].add_argument("--size", type=int, default=15, help="MiB of a piece")
    verbs["carry"].add_argument("--files", type=int, default=4, help="pieces to copy")
    verbs["carry"].add_argument("--first", type=int, default=0, help="above 0: of what was cut last")
    verbs["report"].add_argument("--out", type=Path, help="JSON file")
    return parser


def prepare(given: argparse.Namespace) -> bool:
    """Make the shards, copy the tasks, plan the arms and cut all of it into pieces."""
    work, data = given.work, given.work / "data"
    if not (data / "manifest.json").exists():
        corpus = work / "corpus.jsonl"
        _write_corpus(corpus, given.shared, given.corpora)
        _bertsmith("tokenizer", "jsonl", f"corpus={corpus}", f"size={given.vocabulary}", "--out", work / "vocabulary")
        settings = [f"corpus={corpus}", f"vocab={work / 'vocabulary'}", f"heldout_fraction={given.heldout}"]
        _bertsmith("prepare", "jsonl", *settings, "--out", data)
        corpus.unlink()
    files = [f"glue/{folder}/{split}.tsv" for folder in TASKS.values() for split in ("train", "dev")]
    files += [f"blimp/{path.name}" for path in sorted((given.shared / "blimp").glob("*.jsonl"))]
    for file in files:
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given.shared / file, work / file)
    plan(given)
    names = [name for name in DATA_FILES if (work / name).exists()]
    pieces = cut(work, names, work / "outgoing", DATA_PIECES, given.size * MIB, compress=True)["pieces"]
    for number, piece in enumerate(pieces.values()):
        folder = work / "pieces" / str(number)
        copy(work / "outgoing", DATA_PIECES, folder, number, 1)
        print(f"{folder}: {piece['bytes'] / MIB:.1f} MiB")
    return True


def plan(given: argparse.Namespace) -> bool:
    """Write the plan: each arm's steps for the same operations."""
    for name, arm in make_plan(given.work, given.flops, ARMS)["arms"].items():
        print(
            f"{name:20} {arm['parameters'] / 1e6:6.2f} M parameters  {arm['steps']:>9,} steps  "
            f"{arm['tokens'] / 1e6:9,.1f} M tokens  {arm['flops']:.4g} FLOPs"
        )
    return True


def unpack(given: argparse.Namespace) -> bool:
    """Take pieces in, and join what is complete."""
    missing = collect(given.pieces, given.work / "incoming")
    if not missing:
        sys.exit(f"{given.pieces}: no pieces; name a folder with NAME.000, … and NAME.json")
    for name, absent in missing.items():
        if absent:
            print(f"{name}: still to come: {', '.join(absent)}")
        else:
            join(given.work / "incoming", name, given.work)
            print(f"{name}: complete, in {given.work}")
    return True


def train(given: argparse.Namespace) -> bool:
    """Train the arms in their order until the time is over."""
    deadline, trials, well = _begin(given), _trials(given), True
    for name, arm in _arms(given).items():
        before = standing_of(given.work, name, arm)
        if before.finished or deadline.left() <= 0:
            continue
        log = given.work / "logs" / f"{name}.log"
        ended = run_until(command_of(given.work, name, arm, given.device), deadline, given.grace, log)
        after = standing_of(given.work, name, arm)
        trained = (after.seconds or 0.0) - (before.seconds or 0.0)
        note_work(trials, "train", name, ended, step=after.step, of=arm["steps"], training_seconds=trained)
        well &= ended.how != FAILED
    return well


def measure_all(given: argparse.Namespace) -> bool:
    """Score the finished arms until the time is over."""
    deadline = _begin(given)
    return measure(given, _arms(given), deadline, _trials(given))


def carry(given: argparse.Namespace) -> bool:
    """Cut checkpoints and scores into pieces, and copy some of them."""
    work, outgoing = given.work, given.work / "outgoing"
    if not given.first:
        files = [path for name, arm in _arms(given).items() for path in standing_of(work, name, arm).files]
        files += [path for path in sorted((work / "scores").rglob("*.json")) if "trials" not in path.parts]
        files += [work / PLAN_FILE, *work.glob(TRIALS_FILE)]
        cut(work, [str(path.relative_to(work)) for path in files], outgoing, RUN_PIECES, given.size * MIB)
    later = copy(outgoing, RUN_PIECES, given.out, given.first, given.files)
    if later:
        print(f"{', '.join(later)} are left; next: --first {given.first + given.files}")
    return True


def tell(given: argparse.Namespace) -> bool:
    """Write what there is as JSON and as a table beside published scores."""
    trials = Trials(given.work / TRIALS_FILE)
    report(given.work, trials)
    if given.out:
        given.out.write_text(json.dumps(trials.content, indent=1) + "\n", encoding="utf-8")
    return True


STEPS = {
    "prepare": prepare, "plan": plan, "unpack": unpack, "train": train, "measure": measure_all, "carry": carry,
    "report": tell,
}  # fmt: skip


def _begin(given: argparse.Namespace) -> Deadline:
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; --device cpu runs on the CPU")
    return Deadline(60 * given.minutes - given.grace)


def _trials(given: argparse.Namespace) -> Trials:
    return Trials(given.work / TRIALS_FILE, describe(torch.device("cuda")) if given.device == "cuda" else None)


def _arms(given: argparse.Namespace) -> dict[str, dict]:
    """The planned arms that are asked for."""
    arms = read_plan(given.work)["arms"]
    if strange := set(given.arms or ()) - arms.keys():
        sys.exit(f"--arms {', '.join(sorted(strange))}: no such arm; there are {', '.join(arms)}")
    return {name: arm for name, arm in arms.items() if not given.arms or name in given.arms}


def _write_corpus(out: Path, shared: Path, corpora: Sequence[str]) -> None:
    """Write documents of all corpora, a line each."""
    with out.open("w", encoding="utf-8") as file:
        for corpus in corpora:
            layout, _, path = corpus.partition("=")
            for text in texts_of(shared / path, layout):
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def _bertsmith(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "bertsmith", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
