"""The processes that train one run together, as torchrun starts them: data parallel, each with its share of every
batch. A process by itself is `ALONE`, and nothing here then does anything.

What they decide together is decided by numbers on the CPU; gradients are `bertsmith.training.reducer`'s.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bertsmith.errors import UserError, one_line
from bertsmith.randomness import derived_seed
from bertsmith.storage.files import sha256_json

MAX_KEYS = 5
"""How many keys a message names that are not the same on all ranks."""


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
    control: Any = None
    """The process group of what is decided together, by gloo; it waits for a day, the others' for minutes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, num_rows: int) -> slice:
        """Return which of so many rows are this rank's, side by side: as many as any other's, or one more or less."""
        return slice(self.rank * num_rows // self.size, (self.rank + 1) * num_rows // self.size)

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
            UserError: on all ranks, where one differs.
        """
        hashes = [int(sha256_json(value)[:12], 16) for value in described.values()]  # exact in a float64
        extremes = self.largest([*hashes, *(-number for number in hashes)])
        differing = [
            name
            for name, most, least in zip(described, extremes, extremes[len(hashes) :], strict=False)
            if most != -least
        ]
        if differing:
            told = ", ".join(name + self._differing_keys(name, described[name]) for name in differing)
            raise UserError(
                f"{told}: not the same on all ranks; start all of them with the same command, version and data"
            )

    def _differing_keys(self, name: str, value: Any) -> str:
        """Return in parentheses which keys of a mapping that is not the same on all ranks are not; "" of another value.
        By the store, as ranks may have other keys, and each as many as it has."""
        if not isinstance(value, Mapping):
            return ""
        with _exchange():
            self.store.set(f"{name} of {self.rank}", json.dumps(_hashes(value)))
            of_all = [json.loads(self.store.get(f"{name} of {rank}")) for rank in range(self.size)]
        keys = dict.fromkeys(key for hashes in of_all for key in hashes)
        differing = [key for key in keys if len({hashes.get(key) for hashes in of_all}) > 1]
        return f" ({', '.join(differing[:MAX_KEYS])}{', …' * (len(differing) > MAX_KEYS)})"

    def give_weights(self, module: nn.Module) -> None:
        """Give all ranks the parameters and buffers that the first has: another kind of processor may draw others."""
        if self.store is None:
            return
        for tensor in module.state_dict().values():
            with _exchange():
                dist.broadcast(tensor, 0)

    def sum_of(self, tensor: Tensor) -> Any:
        """Begin to sum a tensor over the ranks, in place; return the work, for `finished`."""
        with _exchange():
            return dist.all_reduce(tensor, async_op=True)

    def finished(self, work: Any) -> None:
        """Return when `work` of `sum_of` is done; on a GPU when what follows on its stream will find it done."""
        with _exchange():
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
        with _exchange():  # as bytes, since not all backends know all formats
            parts = [part.flatten().view(torch.uint8) for part in whole.chunk(self.size)]
            dist.all_gather(parts, padded.flatten().view(torch.uint8))
        return whole[:num_rows]

    def _reduced(self, numbers: Sequence[float], operation: Any) -> list[float]:
        if self.store is None:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)
        with _exchange():
            dist.all_reduce(tensor, operation, group=self.control)
        return tensor.tolist()


ALONE = Ranks()


def _hashes(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a hash for each key of a mapping and of those in it, as "schedule.kind"."""
    hashes: dict[str, str] = {}
    for key, inner in value.items():
        hashes |= (
            _hashes(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {prefix + key: sha256_json(inner)}
        )
    return hashes


def _reason(error: Exception) -> str:
    """Return what gloo says, without the line of its code and the advice that follow."""
    said = re.sub(r"^\[[^]]*\.cc:\d+\] ", "", str(error)).partition(". This is typically ")[0]
    return one_line(RuntimeError(said))


@contextmanager
def noticing_lost_ranks() -> Iterator[None]:
    """Raise RankLost for the errors of exchanges among what is done here, as FSDP makes them in a pass."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise RankLost(_reason(error)) from error
        raise


@contextmanager
def _exchange() -> Iterator[None]:
    """Raise RankLost for any error of torch's: nothing is done here but an exchange."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(_reason(error)) from error
