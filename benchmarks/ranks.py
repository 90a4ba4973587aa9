"""Two ranks, a core each, against one process on one core: `bertsmith pretrain`, tokens a second, in turns.

    python -m benchmarks.ranks --out benchmarks/ranks.json

BERT-small (12 × 256, BERT's vocabulary of 30,522) on 32 rows of 128 tokens a rank, so that two ranks have a batch of
64: the real command on shared books, with gradients summed by gloo over the loopback. Rates are those of metrics.jsonl
between two lines, without start and evaluation. Needs two quiet cores; on machines with other work look at the ratio.
"""

import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.race import bertsmith
from benchmarks.race_text import books
from benchmarks.trials import Trials, parser_of, shared_data
from bertsmith.quickstart.task import write_texts
from bertsmith.training.metrics import read_metrics

TARGET = 1.85
"""Least speed-up of two ranks on two cores."""
ROWS, LENGTH = 32, 128


def main() -> None:
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--recipe", default="bert-small-owt")
    arguments = parser.parse_args()
    trials = Trials(arguments.out)
    what = f"{arguments.recipe}, {ROWS} × {LENGTH} a rank"
    with TemporaryDirectory() as folder:
        data = prepare(Path(folder))
        measure = partial(rate, data, arguments.recipe, arguments.steps)
        contestants = {"one process": partial(measure, 1), "bertsmith": partial(measure, 2)}
        trials.alternate(what, contestants, arguments.repeats)
    trials.ratio(what, "one process", "tokens_per_second", TARGET)


def prepare(folder: Path) -> Path:
    """Return data of a few shared books."""
    corpus = folder / "corpus.jsonl"
    write_texts(corpus, [("books", text) for text in islice(books(shared_data()), 10)])
    vocabulary = shared_data() / "vocab.txt"
    bertsmith("prepare", "jsonl", f"corpus={corpus}", f"vocab={vocabulary}", "--out", folder / "data")
    return folder / "data"


def rate(data: Path, recipe: str, steps: int, num_ranks: int) -> dict[str, float]:
    """Return the tokens a second that so many ranks train together, each on a core of its own."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        settings = [
            f"batch_size={ROWS * num_ranks}", f"rows.length={LENGTH}", f"plan.steps={steps}", "plan.log_steps=2",
            "evaluate_rows=64", "log=[]",
        ]  # fmt: skip
        command = ["-m", "bertsmith", "pretrain", recipe, f"data={data}", *settings, "--out", str(Path(folder, "run"))]
        place = {"WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | (place if num_ranks > 1 else {})
        cores = sorted(os.sched_getaffinity(0))
        ranks = [
            stack.enter_context(subprocess.Popen(
                [sys.executable, *command], env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                preexec_fn=partial(os.sched_setaffinity, 0, {cores[rank % len(cores)]}),
            ))
            for rank in range(num_ranks)
        ]  # fmt: skip
        if any(rank.wait() for rank in ranks):
            raise subprocess.CalledProcessError(1, command)
        lines = [line for line in read_metrics(Path(folder, "run", "metrics.jsonl")) if line["split"] == "train"]
    return {"tokens_per_second": statistics.median(line["tokens_per_second"] for line in lines[1:])}


if __name__ == "__main__":
    main()
