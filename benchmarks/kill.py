"""Killed (SIGKILL) at random moments and started again each time: is the result byte for byte that of a run left alone?

    python -m benchmarks.kill --out kill.json

`prepare`: the shared corpus with two workers. `pretrain`: 300 steps of a network of bert-tiny's size on it, with a
checkpoint every 20; compared are the weights and the optimizer's state. A run that ends before it could be killed often
enough is begun afresh.
"""

import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.trials import Trials, parser_of, shared_data

KILLS = 20
TINY = [
    "batch_size=8", "rows.length=64", "plan.steps=300", "plan.checkpoint_steps=20", "evaluate_rows=64",
    "model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1", "log=[]",
]  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shared = shared_data()
    corpus, vocab = shared / "corpora" / "openwebtext.tar.xz", shared / "vocab.txt"
    if not corpus.exists():
        raise SystemExit(f"{corpus}: absent; set BERTSMITH_SHARED_DATA")
    prepare = ["prepare", "openwebtext", f"corpus={corpus}", f"vocab={vocab}", "workers=2"]
    trials = Trials(arguments.out)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        assert run(prepare, data) == 0
        pretrain = ["pretrain", "bert-tiny", f"data={data}", *TINY]
        for what, command, pattern in (("prepare", prepare, "*"), ("pretrain", pretrain, "**/*.safetensors")):
            killed = partial(killed_and_continued, command, pattern, rng)
            trials.alternate(what, {"bertsmith": killed}, arguments.repeats)


def killed_and_continued(command: list[str], pattern: str, rng: random.Random) -> dict[str, float]:
    """`command` left alone, and `command` killed KILLS times; differing files would end the program."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        started_at = time.monotonic()
        assert run(command, whole) == 0
        seconds = time.monotonic() - started_at
        kills, out = 0, Path(folder, "out-0")
        while kills < KILLS:
            if run(command, out, after=rng.uniform(0, seconds)) == 0:
                compare(whole, out, pattern)
                out = Path(folder, f"out-{kills}")
            else:
                kills += 1
        assert run(command, out) == 0
        compare(whole, out, pattern)
    return {"kills": kills, "seconds left alone": seconds}


def run(command: list[str], out: Path, after: float | None = None) -> int:
    """The exit status, after SIGKILL if it takes longer than `after` seconds."""
    program = [sys.executable, "-m", "bertsmith", *command, "--out", str(out)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def compare(whole: Path, out: Path, pattern: str) -> None:
    expected, found = (
        {path.relative_to(folder): path.read_bytes() for path in folder.glob(pattern) if path.is_file()}
        for folder in (whole, out)
    )
    differing = [str(name) for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    assert expected and not differing, f"{out}: differs in {', '.join(sorted(differing))}"
    print(f"{out.name}: the same bytes in {len(found)} files", flush=True)


if __name__ == "__main__":
    main()
