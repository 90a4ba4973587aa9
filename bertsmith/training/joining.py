"""How a process finds those that torchrun has started with it, and how they end when one of them fails."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from bertsmith.console.terminal import be_quiet, say
from bertsmith.errors import Interrupted, UserError, one_line
from bertsmith.training import rendezvous
from bertsmith.training.ranks import ALONE, RankLost, Ranks
from bertsmith.training.rendezvous import FAILED, failed_before_joining, has_agent, outlast_others

PATIENCE = timedelta(hours=24)
"""How long a rank waits for the others to come to a decision, as while the first measures; one that has ended is
noticed at once, by its connection."""

MINUTES = timedelta(minutes=10)
"""How long it waits for numbers that all of them are sending. On GPUs NCCL's watchdog ends a rank after it; it is no
shorter since one that has compiled its pass waits so for others that still compile theirs."""

JOINING = timedelta(seconds=25)
"""How long it waits for the others' addresses, once all are there; and a tenth of a second for each of them."""

_is_to_say_why = False
"""Whether it is known that this rank is the one to print its error."""


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
        SystemExit: one has ended meanwhile, which one of them says.
    """
    if num_ranks() == 1 and not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        yield ALONE
        return
    global _is_to_say_why
    ranks = _join()
    _is_to_say_why = True
    if has_agent():
        stop_with_parent()
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


def stop_with_parent() -> None:
    """Have this process stopped, as by SIGTERM, when torchrun, which has started it, is gone and did not end it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def _join() -> Ranks:
    local = _local_rank()
    gpu = 0 if torch.cuda.device_count() == 1 and not has_agent() else local  # a batch system shows each its own
    on_gpu = gpu < torch.cuda.device_count()
    store, rank, size = _find_others(local)
    ranks = Ranks(rank, size, gpu, store)
    try:
        if on_gpu:
            torch.cuda.set_device(gpu)  # what "cuda" means in this process from now on
        return replace(ranks, control=_make_groups(ranks, "cpu:gloo,cuda:nccl" if on_gpu else "gloo"))
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, dist.DistError) or "connectFullMesh" in str(error):
            if not _is_first_to_fail(ranks):
                raise SystemExit(1) from None
            _end(_where(ranks), f"one has ended, or is not reached at its address ({one_line(error)})")
        raise _unreachable(error) from None


def _make_groups(ranks: Ranks, backend: str) -> Any:
    """Make the process group of all ranks, and that of what they decide, which is returned.

    While groups are made a rank waits for the others as long as it will later wait in them, and one that has ended has
    no connection yet by which to notice it.
    """
    patience = JOINING + 0.1 * ranks.size * timedelta(seconds=1)
    dist.init_process_group(backend, timeout=patience, store=ranks.store, rank=ranks.rank, world_size=ranks.size)
    control = dist.new_group(backend="gloo", timeout=patience)
    for group, minutes in ((None, MINUTES), (control, PATIENCE)):
        dist.distributed_c10d._set_pg_timeout(minutes, group)
    return control


def _end(where: str, reason: str) -> NoReturn:
    say(
        f"bertsmith: {where}: while the ranks joined, {reason}; start all of them again, on several machines perhaps "
        f"with GLOO_SOCKET_IFNAME=eth0 (your interface)",
        error=True,
    )
    raise SystemExit(1)


def _find_others(local: int) -> tuple[Any, int, int]:
    """Return a store of this start's own, this process's rank and how many there are.

    Raises:
        UserError: nobody is found, on the first rank of a machine.
        SystemExit: likewise on its others: they cannot ask each other who says so.
    """
    global _is_to_say_why
    try:
        store, rank, size = rendezvous.find_store(rendezvous.COMING)
        return dist.PrefixStore(rendezvous.agreed_name(store, rank, size), store), rank, size
    except RankLost as error:
        if local:
            raise SystemExit(1) from None
        _end(f"rank {os.environ['RANK']} ({socket.gethostname()})", str(error))
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


def _local_rank() -> int:
    text = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
    if not text.isdecimal() or len(text) > 6:
        raise UserError(f"LOCAL_RANK={text}: not the number of a process on this machine, counted from 0")
    return int(text)


def is_to_say_why() -> bool:
    """Return whether this process is the one to print the error that ends it: it has no others beside it, or it is the
    first to fail of those that torchrun has started, as over a setting that is none. Of ranks that have joined,
    `joined_ranks` has ended the others."""
    if _is_to_say_why or world_size() == 1:
        return True
    try:
        store, rank, size = rendezvous.find_store(rendezvous.SHORT_PATIENCE)
        if not has_agent() and not rendezvous.has_said_hello() and store.check([f"hello {rank}"]):
            return True  # another process is this rank: what is counted there is another run's
        is_first = bool(store.add(failed_before_joining(), 1) == 1)
        if rank == 0 and not has_agent():
            outlast_others(store, failed_before_joining(), size)
        return is_first
    except (RuntimeError, ValueError, OSError):
        return True  # nobody can be asked


def _is_first_to_fail(ranks: Ranks) -> bool:
    try:
        is_first = bool(ranks.store.add(FAILED, 1) == 1)
        if ranks.is_first and not has_agent():
            if ranks.control is not None:  # whose closed connections the others notice
                dist.destroy_process_group(None if dist.get_backend() == "gloo" else ranks.control)
            outlast_others(ranks.store, FAILED, ranks.size)
        return is_first
    except RuntimeError:
        return True  # whoever kept the count is gone


def _where(ranks: Ranks) -> str:
    return f"rank {ranks.rank} of {ranks.size} ({socket.gethostname()})"
