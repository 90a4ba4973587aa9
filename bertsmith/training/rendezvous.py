"""The store by which processes find each other, as torchrun says in the environment, and what they leave in it until
all of them are there."""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import torch.distributed as dist

from bertsmith.training.ranks import RankLost

COMING = timedelta(minutes=10)
"""How long a rank waits for the others to be there."""

SHORT_PATIENCE = timedelta(seconds=15)
"""How long one that fails before it has joined the others looks for them, to learn whether one has said why; and how
long whoever listens where the first rank should may take to answer as it does."""

LIVELY = timedelta(seconds=3)
"""How long a process that waits for other ranks may be silent before another one takes its place."""

SILENT = timedelta(seconds=25)
"""How long one that has said hello may be silent before it is taken for lost: it says fifty times a second that it
waits."""

OTHERS = "the ranks of another run are there"

FAILED = "failed"
"""Under which the store counts the ranks that have met an error."""

_word = ""
"""What this process has told others by which it is known."""


def find_store(timeout: timedelta) -> tuple[Any, int, int]:
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
    return os.environ.get("RANK") == "0" and not has_agent()


def _somebody_listens() -> bool:
    with suppress(OSError, ValueError, OverflowError):
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), 1.0).close()
        return True
    return False


def has_agent() -> bool:
    """Return whether torchrun keeps the store, so that it outlives the ranks."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def agreed_name(store: Any, rank: int, size: int) -> str:
    """Return a name for this start, the same on all its ranks.

    A store that outlives a restart still holds the addresses of the ranks before, and a machine's own count of restarts
    is not the others'. So each rank says hello with a word of its own; the first offers a name with the words that it
    has heard, another one when a word changes, and it holds once each rank has taken the offer with its word.

    Raises:
        RuntimeError: not all are there after some minutes; those of another run are, as where it has the same port.
        RankLost: one has come, and is silent.
    """
    word, waiting = _say_hello(store, rank), _Waiting(store, range(1, size) if rank == 0 else [0])
    name, heard = "", [""]
    until = time.monotonic() + COMING.total_seconds()
    while time.monotonic() < until:
        if not has_agent() and store.check([failed_before_joining()]):  # which torchrun would have ended this one over
            store.add(failed_before_joining(), 1)
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
        if not has_agent() and (agreed or _text(store, f"hello {rank}") != word):
            raise RuntimeError(OTHERS)
        waiting.check()
        time.sleep(0.02)
    raise RuntimeError(f"after {COMING.seconds // 60} minutes not all of {size} ranks are there")


class _Waiting:
    """Which ranks count that they wait, and since when one has not."""

    def __init__(self, store: Any, numbers: Iterable[int]):
        self.store, self.began_at = store, time.monotonic()
        self.checked_at = self.began_at
        self.last = {number: (self._told(number), self.began_at) for number in numbers}
        self.come = {number for number in self.last if not has_agent()}
        """Of torchrun's store, which has what those of an earlier start have left, the ranks that were seen to wait."""

    def check(self) -> None:
        """Raise RankLost where a rank that has come is silent; once a second, as it asks for each of them."""
        now = time.monotonic()
        if now < self.checked_at + 1:
            return
        self.checked_at = now
        for number, (before, since) in self.last.items():
            told = self._told(number)
            if told != before:
                self.last[number] = told, now
                self.come.add(number)
            elif told[0] and number in self.come and now - since > SILENT.total_seconds():
                raise RankLost(f"rank {number} has ended")

    def _told(self, number: int) -> tuple[str, int]:
        return _text(self.store, f"hello {number}"), self.store.add(f"waits {number}", 0)


def _say_hello(store: Any, rank: int) -> str:
    """Leave a word of this process's own as this rank's, and return it. torchrun's store has that of the start before;
    in another one the first to come is the rank, as long as it is there. Raises RuntimeError where that is another."""
    global _word
    _word = own = uuid.uuid4().hex
    key, before = f"hello {rank}", ""
    if has_agent():
        store.set(key, own)
        return own
    while (there := store.compare_set(key, before, own).decode()) != own:
        waited = store.add(f"waits {rank}", 0)
        if not _text(store, "agreed"):
            time.sleep(LIVELY.total_seconds())
        if _text(store, "agreed") or store.add(f"waits {rank}", 0) > waited:
            raise RuntimeError(OTHERS)
        before = there  # it has gone, as when whoever started it has ended it
    return own


def has_said_hello() -> bool:
    """Return whether this process has told the others that it is there."""
    return bool(_word)


def _text(store: Any, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def failed_before_joining() -> str:
    """Return under what the store counts the ranks that fail before they have joined. That of torchrun outlives them,
    and each start of them has a count of its own."""
    return f"{FAILED} at start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def outlast_others(store: Any, key: str, size: int) -> None:
    """Let the other ranks fail first, for a few seconds: without torchrun this process keeps what they leave for each
    other."""
    until = time.monotonic() + 5
    while store.add(key, 0) < size and time.monotonic() < until:
        time.sleep(0.02)
