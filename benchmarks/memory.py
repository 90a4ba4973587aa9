"""What memory `prepare` and the start of `pretrain` take, and how long a start lasts, as the corpus grows.

    python -m benchmarks.memory --out memory.json

The archives of the shared corpus once (72 MB of text), 4, 16 and 64 times. Memory is compared from 4 times on: below it
the workers' caches of words are still filling, and one group of shards, whose rows a run shuffles together, is not yet
full.

`prepare`, with two workers: the most that the program and that the largest of its workers held (VmHWM), and the sum of
all processes' peaks, which is at least what they held at one time. `pretrain` of BERT-tiny on what was prepared, from
nothing: the most anonymous memory (RssAnon, looked at every 10 ms; the shards' pages, which the system can drop, are
not in it) until the first step is done, and the seconds until its batch is there and until it is done, after the
imports, of which two come late: pydantic with the first recipe, and torch's compiler with the first optimizer. `again`
is the second start on the same data, whose hashes were compared by the first.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.prepare_workers import recipe, shared_parts
from benchmarks.trials import Trials, in_own_process, parser_of

FLAT = 1.05
GROWTH = {"1 ×": 1, "4 ×": 4, "16 ×": 16, "64 ×": 64}
"""Copies of the shared corpus."""
FULL = ("4 ×", "16 ×", "64 ×")
"""Between which memory is compared."""
SECONDS = {"1 ×": 2.0, "16 ×": 3.0}


def main() -> None:
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--folder", type=Path, help="for corpora and data, 3 GB; by default a temporary one")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    if arguments.measure:
        what, *folders = arguments.measure
        MEASURES[what](*map(Path, folders))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        measure_all(Trials(arguments.out), folder, arguments.repeats)


def measure_all(trials: Trials, folder: Path, repeats: int) -> None:
    for who, copies in GROWTH.items():
        link_archives(folder / f"corpus {who}", copies)
    trials.alternate("prepare", {who: partial(measure_prepare, folder, who) for who in GROWTH}, repeats)
    for who in GROWTH:
        if not (folder / f"data {who}" / "manifest.json").exists():  # its trials were there
            measure_prepare(folder, who)
    for what, is_first in (("pretrain", True), ("pretrain, again", False)):
        measures = {who: partial(measure_start, folder, who, is_first) for who in GROWTH}
        trials.alternate(what, measures, repeats)
    for what, names in (("prepare", ("program MB", "worker MB")), ("pretrain", ("MB",)), ("pretrain, again", ("MB",))):
        for name in names:
            report_growth(trials, what, name)
    for what in ("pretrain", "pretrain, again"):
        for who, target in SECONDS.items():
            report_seconds(trials, what, who, target)


def link_archives(folder: Path, copies: int) -> None:
    """Write the shared corpus's archives, and links to them for all copies but the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(shared_parts()):
        assert part.content is not None
        first = folder / f"urlsf_subset000-{number}_data.xz"
        first.write_bytes(part.content)
        for copy in range(1, copies):
            path = folder / f"urlsf_subset{copy:03}-{number}_data.xz"
            path.unlink(missing_ok=True)
            path.hardlink_to(first)


def measure_prepare(folder: Path, who: str) -> dict[str, float]:
    return in_own_process("memory", "--measure", "prepare", str(folder / f"corpus {who}"), str(folder / f"data {who}"))


def prepare_corpus(corpus: Path, data: Path) -> None:
    """Prepare a corpus with two workers; print the memory that this process and those below it held."""
    from bertsmith.text.prepare import prepare

    peaks = peaks_of_children(lambda: prepare(recipe(corpus, "openwebtext", 2), data, overwrite=True))
    own = peak_of("self")
    figures = {"program MB": own, "worker MB": max(peaks.values()), "sum MB": own + sum(peaks.values())}
    print(json.dumps({name: value / 1e6 for name, value in figures.items()}))


def peaks_of_children(act: Callable[[], Any]) -> dict[int, int]:
    """Return process → peak for all below this one while `act` is at work. What watches is a process too, so that it
    does not wait for this one's interpreter."""
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", "watch", f"/proc/{os.getpid()}", os.devnull]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    act()
    told, _ = watcher.communicate("")
    return {int(process): peak for process, peak in json.loads(told).items() if int(process) != watcher.pid}


def watch(process: Path, _: Path) -> None:
    """Print process → peak for all below `process`, once the standard input is closed."""
    import select

    peaks: dict[int, int] = {}
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        peaks.update({number: peak for number in below(int(process.name)) if (peak := peak_of(str(number)))})
    print(json.dumps(peaks))


def below(process: int) -> set[int]:
    """Return the processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    level = {process}
    while level:
        level = {number for number, parent in parents.items() if parent in level}
        found |= level
    return found


def peak_of(process: str) -> int:
    return status_bytes(process, "VmHWM")


def status_bytes(process: str, name: str) -> int:
    """Return a figure of a process's status, 0 where it has ended."""
    try:
        lines = Path("/proc", process, "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def measure_start(folder: Path, who: str, is_first: bool) -> dict[str, float]:
    """Start a run in a process of its own, and watch it until it prints its figures."""
    data = folder / f"data {who}"
    if is_first:
        (data / "checked.json").unlink(missing_ok=True)
    most = 0
    with tempfile.TemporaryDirectory() as run:
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", "start", str(data), str(Path(run, "run"))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            while process.poll() is None:
                most = max(most, status_bytes(str(process.pid), "RssAnon"))
                time.sleep(0.01)
            assert process.stdout is not None
            told = process.stdout.read().splitlines()
    if process.returncode or not told:
        raise SystemExit(f"the run on {data} ended with status {process.returncode}")
    return json.loads(told[-1]) | {"MB": most / 1e6}


def start_run(data: Path, run: Path) -> None:
    """Begin to train, and end this process after the first step; print its seconds and its CPU seconds."""
    import pydantic.dataclasses  # noqa: F401  # as the first recipe does
    import torch._dynamo  # noqa: F401  # as torch.optim does with its first optimizer

    import bertsmith.cli.app  # noqa: F401  # what the program has imported
    from bertsmith.config.loading import load
    from bertsmith.evals import pinned  # noqa: F401
    from bertsmith.memory import keep_imports
    from bertsmith.tasks import quick_glue  # noqa: F401
    from bertsmith.training import loop
    from bertsmith.training.pretrain import pretrain
    from bertsmith.training.recipe import PretrainRecipe

    keep_imports()  # as the program does
    started_at, figures = time.perf_counter(), {}
    launch = loop._launch

    def first(runner: Any, prepared: Any, context: Any, state: Any, seconds: float) -> Any:
        figures["seconds to the batch"] = time.perf_counter() - started_at
        step, move = launch(runner, prepared, context, state, seconds), context.optimizer.step

        def moved() -> None:
            move()
            figures["seconds"], figures["CPU seconds"] = time.perf_counter() - started_at, time.process_time() - cpu
            print(json.dumps(figures), flush=True)
            os._exit(0)

        context.optimizer.step = moved
        return step

    cpu = time.process_time()
    loop._launch = first
    given = [f"data={data}", "plan.steps=100", "machine.device=cpu", "log=[]"]
    pretrain(load(PretrainRecipe, "pretrain", "bert-tiny", given).settings, run)


MEASURES: dict[str, Callable[[Path, Path], None]] = {"prepare": prepare_corpus, "watch": watch, "start": start_run}
"""What a process of this program's own does."""


def report_growth(trials: Trials, what: str, name: str) -> None:
    """Print and note how much more the largest corpus takes than the smallest."""
    medians = [statistics.median(trials.figures(what, who, name)) for who in FULL]
    growth = max(medians) / min(medians)
    said = ", ".join(f"{median:,.0f}" for median in medians)
    print(f"{what}: {name} {said} at {', '.join(FULL)}: {growth:.3f} × (target ≤ {FLAT})")
    trials.note("results", f"{what}, {name}", {"medians": medians, "growth": growth, "reached": growth <= FLAT})


def report_seconds(trials: Trials, what: str, who: str, target: float) -> None:
    median = statistics.median(trials.figures(what, who, "seconds"))
    print(f"{what}: {median:.2f} s to the first step at {who} (target ≤ {target})")
    trials.note("results", f"{what}, seconds at {who}", {"median": median, "reached": median <= target})


if __name__ == "__main__":
    main()
