"""How fast two processes of this machine sum 100 MB, as ranks do their gradients: measured with two real ones."""

import multiprocessing
import os
import socket
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from concurrent.futures.process import BrokenProcessPool

from bertsmith.errors import UserError
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
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        ranks = [pool.submit(_reduce, rank, port) for rank in range(2)]
        try:
            return ranks[0].result(MAX_SECONDS)
        except (TookTooLong, BrokenProcessPool, UserError, SystemExit, OSError):
            for process in (pool._processes or {}).values():  # which would wait for each other for long
                process.kill()
            return None


def _reduce(rank: int, port: int) -> float:
    """Sum with the other process; return the median of the seconds that it takes."""
    import torch

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
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
        return statistics.median(seconds[1:])
