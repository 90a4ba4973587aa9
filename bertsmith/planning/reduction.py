"""How fast two processes of this machine sum 100 MB, as ranks do their gradients: measured with two real ones.

Each is this file as a program. They are in sessions of their own, so that a Ctrl-C ends the command, and with it them,
without a page from each."""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bertsmith
from bertsmith.console.signals import holding_stops
from bertsmith.training.joining import joined_ranks

NUM_BYTES = 100_000_000
TURNS = 5
MAX_SECONDS = 60


def seconds_of_reduction() -> float | None:
    """Return the seconds that two ranks take for `NUM_BYTES`, on two GPUs where there are, else on the CPU; None where
    they do not find each other."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with contextlib.ExitStack() as stack:
        ranks = []
        for rank in range(2):
            with holding_stops():
                ranks.append(stack.enter_context(_start(rank, port)))  # to be waited for in the end
                stack.callback(ranks[rank].kill)  # before that: it may wait for the other for long
        try:
            told, _ = ranks[0].communicate(timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return float(told) if ranks[0].returncode == 0 else None


def _start(rank: int, port: int) -> "subprocess.Popen[str]":
    package = str(Path(bertsmith.__file__).resolve().parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],  # -P: no module of the present folder is taken for another
        env=os.environ | {"PYTHONPATH": path} | {name: str(value) for name, value in place.items()},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def _reduce() -> None:
    """Sum with the other process; write the median of the seconds that it takes on standard output."""
    import torch

    with joined_ranks() as ranks:
        on_gpu = torch.cuda.device_count() >= ranks.size
        numbers = torch.zeros(NUM_BYTES // 4, device="cuda" if on_gpu else "cpu")
        seconds = []
        for _ in range(1 + TURNS):  # the first opens the connections
            ranks.any(False)
            started_at = time.perf_counter()
            ranks.finished(ranks.sum_of(numbers))
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started_at)
        if ranks.is_first:
            os.write(1, str(statistics.median(seconds[1:])).encode())


if __name__ == "__main__":
    _reduce()
