"""Processes that train together, for tests."""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.__main__ import main
from bertsmith.errors import Interrupted, UserError
from bertsmith.storage.files import sha256_json
from bertsmith.training import beginning, loop
from bertsmith.training.joining import joined_ranks
from bertsmith.training.pretrain import pretrain
from bertsmith.training.ranks import Ranks
from bertsmith.training.runner import Runner
from tests.toys import tiny_recipe

SECONDS = 300
"""After which a rank that waits is killed, and its test fails."""


class Ended(NamedTuple):
    status: int
    error: str


def run_ranks(size: int, jobs: Sequence[dict[str, Any]], folder: Path, data: Path) -> list[Ended]:
    """Train the runs of `jobs`, one after the other, in `size` processes; return how each of these ended.

    A job has the folder "run", "settings" as `tiny_recipe` takes them, and, by rank, more "settings_of" one, another
    folder as its "run_of" or "data_of", and what "happens" to it: ("signal", step, number) or ("memory", step) as a
    step begins, ("clock", seconds) that it runs ahead whenever it is looked at, or ("version", name) of another
    package. In the folder "noted" each rank writes a line for each batch, of all its rows and masks.
    """
    return fork_ranks(size, partial(_train, jobs, data), folder)


def fork_ranks(size: int, work: Callable[[Ranks], None], folder: Path) -> list[Ended]:
    """Call `work` in `size` processes that have joined; return how each of them ended."""
    return _fork([partial(_join, work)] * size, folder)


def fork_ranks_with(
    happenings: Sequence[Callable[[], None] | None], work: Callable[[Ranks], None], folder: Path
) -> list[Ended]:
    """Call `work` in a process for each of what happens to one before it joins; return how each of them ended."""
    return _fork([partial(_join, work, happens) for happens in happenings], folder)


def fork_commands(commands: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """Run a command line of bertsmith on each rank; return how each of them ended."""
    return _fork([partial(_command, command) for command in commands], folder)


def _fork(acts: Sequence[Callable[[], None]], folder: Path) -> list[Ended]:
    port, fork = free_port(), multiprocessing.get_context("fork")  # a process with torch imported is quickly forked
    files = [folder / f"rank-{rank}.err" for rank in range(len(acts))]
    processes = [
        fork.Process(target=_work, args=(rank, len(acts), port, file, act))
        for rank, (file, act) in enumerate(zip(files, acts, strict=True))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [Ended(process.exitcode or 0, file.read_text()) for process, file in zip(processes, files, strict=True)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment_of(rank: int, size: int, port: int) -> dict[str, str]:
    """Return what torchrun tells a process."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip


def _work(rank: int, size: int, port: int, error: Path, act: Callable[[], None]) -> None:
    signal.alarm(SECONDS)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    sys.stderr = error.open("w", buffering=1)
    os.environ.update(environment_of(rank, size, port))
    act()


def _command(arguments: Sequence[str]) -> None:
    sys.argv = ["bertsmith", *arguments]
    main()


def _join(work: Callable[[Ranks], None], happens: Callable[[], None] | None = None) -> None:
    if happens:
        happens()
    try:
        with joined_ranks() as ranks:
            work(ranks)
    except UserError as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        sys.exit(128 + stopped.number)


def _train(jobs: Sequence[dict[str, Any]], data: Path, ranks: Ranks) -> None:
    for job in jobs:
        _happen(job.get("happens", {}).get(ranks.rank))
        if "noted" in job:
            _note_batches(Path(job["noted"]) / f"rank-{ranks.rank}.txt")
        own = {name: job.get(f"{name}_of", {}).get(ranks.rank) for name in ("settings", "run", "data")}
        recipe = tiny_recipe(Path(own["data"] or data), *job["settings"], *(own["settings"] or []))
        pretrain(recipe, Path(own["run"] or job["run"]), ranks=ranks)


def _happen(what: Sequence[Any] | None) -> None:
    if what is None:
        return
    if what[0] == "clock":
        loop.time = _AheadClock(what[1])  # type: ignore[assignment]
        return
    if what[0] == "version":
        beginning.__version__ = what[1]
        return
    run, steps = Runner._gradients, []

    def gradients(self: Any, prepared: Any) -> Any:
        steps.append(0)
        if len(steps) == what[1] and what[0] == "signal":
            os.kill(os.getpid(), what[2])
        elif len(steps) == what[1]:
            raise MemoryError
        return run(self, prepared)

    Runner._gradients = gradients  # type: ignore[method-assign]


def _note_batches(file: Path) -> None:
    run = Runner._gradients

    def gradients(self: Any, prepared: Any) -> Any:
        tensors = {name: tensor.tolist() for name, tensor in prepared.batch.tensors().items()}
        with file.open("a") as lines:
            print(sha256_json(tensors), file=lines)
        return run(self, prepared)

    Runner._gradients = gradients  # type: ignore[method-assign]


class _AheadClock:
    def __init__(self, seconds: float):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self) -> float:
        self.now += self.seconds
        return self.now
