"""The processes that train one run together, as torchrun starts them: data parallel, each with its share of every
batch. A process by itself is `ALONE`, and nothing here then does anything.

What they decide together is decided by numbers on the CPU; gradients are `bertsmith.training.reducer`'s.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bertsmith.console.terminal import be_quiet, say
from bertsmith.errors import Interrupted, UserError, one_line
from bertsmith.randomness import derived_seed
from bertsmith.storage.files import sha256_json

PATIENCE = timedelta(hours=24)
"""How long a rank waits for the others, as while the first writes a checkpoint or measures; one that has ended is
noticed at once, by its connection."""

FAILED = "failed"
"""Under which the store counts the ranks that have met an error."""


class RankLost(Exception):
    """Another rank has ended while this one worked with it."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train one run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of this machine: which GPU is its own."""
    store: Any = None
    """Where ranks leave words for each other; None: there are no others, and no process group."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, num_rows: int) -> slice:
        """Return which of so many rows, a multiple of `size`, are this rank's: as many as any other's, side by side."""
        each = num_rows // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def rows(self, num_rows: int) -> slice:
        """Return which of a tensor's rows are this rank's where they are dealt, as FSDP deals them: side by side, and
        to each as many but for the last ranks, which may have fewer or none."""
        each = -(-num_rows // self.size)
        return slice(min(self.rank * each, num_rows), min((self.rank + 1) * each, num_rows))

    @property
    def deal(self) -> slice:
        """Which of a list's items are this rank's: each `size`-th."""
        return slice(self.rank, None, self.size)

    def dropout_seed(self, seed: int, step: int) -> int:
        """Return the seed of a step's dropout, which is another on each rank."""
        return derived_seed(seed, "dropout", step, *([self.rank] if self.rank else []))

    def add_up(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all ranks of each of these numbers."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def largest(self, numbers: Sequence[float]) -> list[float]:
        """Return the largest over all ranks of each of these numbers."""
        return self._reduced(numbers, dist.ReduceOp.MAX)

    def any(self, condition: bool) -> bool:
        """Return whether `condition` holds on one rank at least."""
        return condition if self.store is None else bool(self.largest([condition])[0])

    def of_first(self, number: float) -> float:
        """Return the number that the first rank has."""
        return self.add_up([number if self.is_first else 0.0])[0]

    def of_each(self, numbers: Sequence[float]) -> list[list[float]]:
        """Return the numbers of each rank, in order; each gives as many."""
        count = len(numbers)
        row = [0.0] * (count * self.size)
        row[self.rank * count : (self.rank + 1) * count] = numbers
        added = self.add_up(row)
        return [added[start : start + count] for start in range(0, len(row), count)]

    def wait_for_all(self) -> None:
        """Return when all ranks have come here."""
        self.add_up([0.0])

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Hold what all ranks must have alike, by name.

        Raises:
            UserError: on a rank that differs from the first.
        """
        hashes = {name: int(sha256_json(value)[:12], 16) for name, value in described.items()}  # exact in a float64
        differing = [name for name, number in hashes.items() if self.of_first(number) != number]
        if differing:
            raise UserError(
                f"{', '.join(differing)}: not the same as on rank 0; start all ranks with the same command, version "
                f"and data"
            )

    def sum_of(self, tensor: Tensor) -> Any:
        """Begin to sum a tensor over the ranks, in place; return the work, for `finished`."""
        with _noticing_loss():
            return dist.all_reduce(tensor, async_op=True)

    def finished(self, work: Any) -> None:
        """Return when `work` of `sum_of` is done; on a GPU when what follows on its stream will find it done."""
        with _noticing_loss():
            work.wait()

    def norm_of_all(self, norm: Tensor) -> Tensor:
        """Return the norm of all ranks' numbers together, of each one's own `norm`, a tensor without dimensions."""
        squares = norm.double().square()
        self.finished(self.sum_of(squares))
        return squares.sqrt().to(norm.dtype)

    def whole(self, piece: Tensor, num_rows: int) -> Tensor:
        """Return the tensor of `num_rows` rows of which each rank has a `piece`, its `rows`."""
        if self.store is None:
            return piece
        each = -(-num_rows // self.size)
        padded = piece if len(piece) == each else piece.new_zeros((each, *piece.shape[1:]))
        padded[: len(piece)] = piece
        whole = piece.new_empty((self.size * each, *piece.shape[1:]))
        with _noticing_loss():  # as bytes, since not all backends know all formats
            parts = [part.flatten().view(torch.uint8) for part in whole.chunk(self.size)]
            dist.all_gather(parts, padded.flatten().view(torch.uint8))
        return whole[:num_rows]

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Raise RankLost for the errors of torch's own exchanges between ranks, as FSDP's."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                raise RankLost(one_line(error)) from error
            raise

    def _reduced(self, numbers: Sequence[float], operation: Any) -> list[float]:
        if self.store is None:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        with _noticing_loss():
            dist.all_reduce(tensor, operation)
        return tensor.tolist()


ALONE = Ranks()


@contextmanager
def _noticing_loss() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(one_line(error)) from error


def num_ranks() -> int:
    """Return among how many processes this one was started.

    Raises:
        UserError: the environment says so, but not how to find them.
    """
    size, rank = os.environ.get("WORLD_SIZE", ""), os.environ.get("RANK", "")
    number = int(size) if size.strip().isdecimal() and len(size) < 10 else 1
    if number > 1 and not (rank.isdecimal() and int(rank) < number and "MASTER_ADDR" in os.environ):
        raise UserError(
            f"WORLD_SIZE={size}, but RANK and MASTER_ADDR do not say which of {size} processes this is; start them "
            f"with torchrun --nproc-per-node {size} -m bertsmith …, or unset WORLD_SIZE"
        )
    return number


def is_restarted() -> bool:
    """Return whether torchrun has started the ranks anew after one was lost."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes that torchrun has started, with GPUs by NCCL; give this one's place.

    Of all ranks only the first prints. Of an error that ends a rank, the first to have one prints it, and the others
    end without a word.

    Raises:
        UserError: as `num_ranks`; the others cannot be reached.
    """
    if num_ranks() == 1 and "MASTER_ADDR" not in os.environ:
        yield ALONE
        return
    ranks = _join()
    be_quiet(not ranks.is_first)
    try:
        yield ranks
    except Interrupted:
        raise
    except Exception as error:
        if not _is_first_to_fail(ranks):
            raise SystemExit(1) from None
        be_quiet(False)
        if isinstance(error, RankLost):
            say(
                f"bertsmith: {_where(ranks)}: another rank has ended ({error}), and so this one ends; the same command "
                f"goes on from the last checkpoint",
                error=True,
            )
            raise SystemExit(1) from None
        if isinstance(error, UserError) and ranks.size > 1:
            raise type(error)(f"{_where(ranks)}: {error}") from None
        raise
    else:
        dist.destroy_process_group()
    finally:
        be_quiet(False)


def _join() -> Ranks:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = local < torch.cuda.device_count()
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=timedelta(minutes=10)))
        # Of ranks that are started anew: in their place are the addresses of those before.
        store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        if on_gpu:
            torch.cuda.set_device(local)  # what "cuda" means in this process from now on
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"the other ranks cannot be reached at {where} ({one_line(error)}); another --master-port or "
            f"--rdzv-endpoint of torchrun may help"
        ) from None
    return Ranks(rank, size, local, store)


def _is_first_to_fail(ranks: Ranks) -> bool:
    try:
        is_first = bool(ranks.store.add(FAILED, 1) == 1)
        if ranks.is_first and "TORCHELASTIC_USE_AGENT_STORE" not in os.environ:
            _outlast_others(ranks)
        return is_first
    except RuntimeError:
        return True  # whoever kept the count is gone


def _outlast_others(ranks: Ranks) -> None:
    """Let the other ranks end first, for a few seconds: without torchrun this process keeps what they leave for each
    other."""
    if dist.get_backend() == "gloo":
        dist.destroy_process_group()  # which they notice
    until = time.monotonic() + 5
    while ranks.store.add(FAILED, 0) < ranks.size and time.monotonic() < until:
        time.sleep(0.02)


def _where(ranks: Ranks) -> str:
    return f"rank {ranks.rank} of {ranks.size} ({socket.gethostname()})"
