"""How a process finds those that torchrun has started with it, and how they end when one of them fails."""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist

from bertsmith.console.terminal import be_quiet, say
from bertsmith.errors import Interrupted, UserError, one_line
from bertsmith.training.ranks import ALONE, RankLost, Ranks

PATIENCE = timedelta(hours=24)
"""How long a rank waits for the others to come to a decision, as while the first measures; one that has ended is
noticed at once, by its connection."""
MINUTES = timedelta(minutes=10)
"""How long it waits for them to be there, and for numbers that all of them are sending. On GPUs NCCL's watchdog ends a
rank after it; it is no shorter since one that has compiled its pass waits so for others that still compile theirs."""

SHORT_PATIENCE = timedelta(seconds=15)
"""How long one that fails before it has joined the others looks for them, to learn whether one has said why; and how
long whoever listens where the first rank should may take to answer as it does."""

LIVELY = timedelta(seconds=3)
"""How long a process that waits for other ranks may be silent before another one takes its place."""

OTHERS = "the ranks of another run are there"

FAILED = "failed"
"""Under which the store counts the ranks that have met an error."""

_is_to_say_why = False
"""Whether it is known that this rank is the one to print its error."""
_word = ""
"""What this process has told others by which it is known."""


def world_size() -> int:
    """Return among how many processes this one was started, as torchrun says in the environment; else 1."""
    size = os.environ.get("WORLD_SIZE", "").strip()
    return int(size) if size.isdecimal() and len(size) < 10 else 1


def num_ranks() -> int:
    """Return `world_size`.

    Raises:
        UserError: there are several, and the environment does not say how to find them.
    """
    size, rank = world_size(), os.environ.get("RANK", "")
    if size > 1 and not (rank.isdecimal() and int(rank) < size and "MASTER_ADDR" in os.environ):
        raise UserError(
            f"WORLD_SIZE={size}, but RANK and MASTER_ADDR do not say which of {size} processes this is; start them "
            f"with torchrun --nproc-per-node {size} -m bertsmith …, or unset WORLD_SIZE"
        )
    return size


def may_restart() -> bool:
    """Return whether torchrun starts the ranks anew after one was lost, with the same command."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") not in ("", "0")


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes that torchrun has started, with GPUs by NCCL; give this one's place.

    Of all ranks only the first prints. Of an error that ends a rank, the first to have one prints it, and the others
    end without a word.

    Raises:
        UserError: as `num_ranks`; the others cannot be reached.
    """
    if num_ranks() == 1 and not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        yield ALONE
        return
    global _is_to_say_why
    ranks = _join()
    _is_to_say_why = True
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
                f"bertsmith: {_where(ranks)}: working with the other ranks failed, probably since one has ended "
                f"({error}); the same command, without --overwrite, goes on from the last checkpoint",
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
    local = _local_rank()
    gpu = 0 if torch.cuda.device_count() == 1 and not _has_agent() else local  # a batch system shows each its own
    on_gpu = gpu < torch.cuda.device_count()
    store, rank, size = _find_others(local)
    try:
        if on_gpu:
            torch.cuda.set_device(gpu)  # what "cuda" means in this process from now on
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, timeout=MINUTES, store=store, rank=rank, world_size=size)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unreachable(error) from None
    return Ranks(rank, size, gpu, store, control)


def _find_others(local: int) -> tuple[Any, int, int]:
    """Return a store of this start's own, this process's rank and how many there are.

    Raises:
        UserError: nobody is found, on the first rank of a machine.
        SystemExit: likewise on its others: they cannot ask each other who says so.
    """
    global _is_to_say_why
    try:
        store, rank, size = _rendezvous(MINUTES)
        return dist.PrefixStore(_agreed_name(store, rank, size), store), rank, size
    except (RuntimeError, ValueError, OSError) as error:
        if local:
            raise SystemExit(2) from None
        _is_to_say_why = True
        raise _unreachable(error) from None


def _unreachable(error: Exception) -> UserError:
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    return UserError(
        f"the other ranks cannot be reached at {where} ({one_line(error)}); another MASTER_PORT, or --master-port or "
        f"--rdzv-endpoint of torchrun, may help"
    )


def _rendezvous(timeout: timedelta) -> tuple[Any, int, int]:
    """Return the store, this process's rank and how many there are. In a thread: where another program has the port and
    does not answer, torch waits for ever."""
    found: SimpleQueue[tuple[Any, int, int] | Exception] = SimpleQueue()

    def find() -> None:
        try:
            found.put(next(dist.rendezvous("env://", timeout=timeout)))
        except Exception as error:
            found.put(error)

    Thread(target=find, daemon=True).start()
    begun_at = listening_since = time.monotonic()
    while time.monotonic() - begun_at < timeout.total_seconds() + 1:
        with suppress(Empty):
            result = found.get(timeout=0.5)
            if isinstance(result, Exception):
                raise result
            return result
        if _keeps_store() or not _somebody_listens():
            listening_since = time.monotonic()
        elif time.monotonic() - listening_since > SHORT_PATIENCE.total_seconds():
            raise RuntimeError("what listens there is no rank")
    raise RuntimeError(f"no answer in {timeout.total_seconds():.0f} s")


def _keeps_store() -> bool:
    """Return whether the others find each other by this process."""
    return os.environ.get("RANK") == "0" and not _has_agent()


def _somebody_listens() -> bool:
    with suppress(OSError, ValueError, OverflowError):
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), 1.0).close()
        return True
    return False


def _local_rank() -> int:
    text = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    if not text.isdecimal() or len(text) > 6:
        raise UserError(f"LOCAL_RANK={text}: not the number of a process on this machine, counted from 0")
    return int(text)


def _has_agent() -> bool:
    """Return whether torchrun keeps the store, so that it outlives the ranks."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _agreed_name(store: Any, rank: int, size: int) -> str:
    """Return a name for this start, the same on all its ranks.

    A store that outlives a restart still holds the addresses of the ranks before, and a machine's own count of restarts
    is not the others'. So each rank says hello with a word of its own; the first offers a name with the words that it
    has heard, another one when a word changes, and it holds once each rank has taken the offer with its word.

    Raises:
        RuntimeError: not all are there after some minutes; those of another run are, as where it has the same port.
    """
    word = _say_hello(store, rank)
    name, heard = "", [""]
    until = time.monotonic() + MINUTES.total_seconds()
    while time.monotonic() < until:
        if not _has_agent() and store.check([_before_joining()]):  # which torchrun would have ended this one over
            store.add(_before_joining(), 1)
            raise SystemExit(1)
        store.add(f"waits {rank}", 1)
        if rank == 0:
            words = [_text(store, f"hello {number}") for number in range(size)]
            if all(words) and words != heard:
                name, heard = uuid.uuid4().hex, words
                store.set("offer", json.dumps([name, *heard]))
            if name and all(_text(store, f"taken {number}") == name for number in range(1, size)):
                store.set("agreed", name)
        elif (offer := json.loads(_text(store, "offer") or "[]"))[rank + 1 : rank + 2] == [word]:
            name = offer[0]
            store.set(f"taken {rank}", name)
        agreed = _text(store, "agreed")
        if name and agreed == name:
            return name
        if not _has_agent() and (agreed or _text(store, f"hello {rank}") != word):
            raise RuntimeError(OTHERS)
        time.sleep(0.02)
    raise RuntimeError(f"after {MINUTES.seconds // 60} minutes not all of {size} ranks are there")


def _say_hello(store: Any, rank: int) -> str:
    """Leave a word of this process's own as this rank's, and return it. torchrun's store has that of the start before;
    in another one the first to come is the rank, as long as it is there. Raises RuntimeError where that is another."""
    global _word
    _word, key = uuid.uuid4().hex, f"hello {rank}"
    if _has_agent():
        store.set(key, _word)
        return _word
    before = ""
    while (there := store.compare_set(key, before, _word).decode()) != _word:
        waited = store.add(f"waits {rank}", 0)
        if not _text(store, "agreed"):
            time.sleep(LIVELY.total_seconds())
        if _text(store, "agreed") or store.add(f"waits {rank}", 0) > waited:
            raise RuntimeError(OTHERS)
        before = there  # it has gone, as when whoever started it has ended it
    return _word


def _text(store: Any, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def is_to_say_why() -> bool:
    """Return whether this process is the one to print the error that ends it: it has no others beside it, or it is the
    first to fail of those that torchrun has started, as over a setting that is none. Of ranks that have joined,
    `joined_ranks` has ended the others."""
    if _is_to_say_why or world_size() == 1:
        return True
    try:
        store, rank, size = _rendezvous(SHORT_PATIENCE)
        if not _has_agent() and not _word and store.check([f"hello {rank}"]):
            return True  # another process is this rank: what is counted there is another run's
        is_first = bool(store.add(_before_joining(), 1) == 1)
        if rank == 0 and not _has_agent():
            _outlast_others(store, _before_joining(), size)
        return is_first
    except (RuntimeError, ValueError, OSError):
        return True  # nobody can be asked


def _before_joining() -> str:
    """Return under what the store counts the ranks that fail before they have joined. That of torchrun outlives them,
    and each start of them has a count of its own."""
    return f"{FAILED} at start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _is_first_to_fail(ranks: Ranks) -> bool:
    try:
        is_first = bool(ranks.store.add(FAILED, 1) == 1)
        if ranks.is_first and not _has_agent():
            # Which the others notice, of gloo; the group of what is decided is always of it.
            dist.destroy_process_group(None if dist.get_backend() == "gloo" else ranks.control)
            _outlast_others(ranks.store, FAILED, ranks.size)
        return is_first
    except RuntimeError:
        return True  # whoever kept the count is gone


def _outlast_others(store: Any, key: str, size: int) -> None:
    """Let the other ranks fail first, for a few seconds: without torchrun this process keeps what they leave for each
    other."""
    until = time.monotonic() + 5
    while store.add(key, 0) < size and time.monotonic() < until:
        time.sleep(0.02)


def _where(ranks: Ranks) -> str:
    return f"rank {ranks.rank} of {ranks.size} ({socket.gethostname()})"
