"""Parts of a corpus in, their tokens out in the same order, encoded by several processes."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from typing import NamedTuple

from bertsmith.errors import UserError
from bertsmith.memory import keep_freed_memory
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.encoding import Encoded, encode_documents
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.tokenizers.tokenizer import Tokenizer

IN_FLIGHT = 4
"""Parts per worker that are taken from the corpus and not yet written: while a shard is closed, work goes on."""


@dataclass(frozen=True)
class PartEncoder:
    """A reader and encoder of a corpus's parts; with `skip_broken` a broken archive or member is counted as one skipped
    "broken archive", instead of ending the work with a UserError."""

    tokenizer: Tokenizer
    heldout_fraction: float
    skip_broken: bool

    def __call__(self, part: CorpusPart) -> "Result":
        started_at = time.perf_counter()
        skipped: Counter[str] = Counter()
        broken: list[str] = []
        note = partial(note_broken, self.skip_broken, broken)
        try:
            encoded = encode_documents(part.documents(skipped, note), self.tokenizer, self.heldout_fraction)
        except UnreadableInput as error:
            note(error)
            encoded = encode_documents((), self.tokenizer, self.heldout_fraction)
            skipped.clear()
        encoded.skipped.update(skipped)
        encoded.skipped.update({"broken archive": len(broken)} if broken else {})
        return Result(encoded, time.perf_counter() - started_at, tuple(broken))


def note_broken(skip_broken: bool, broken: list[str], error: UnreadableInput) -> None:
    """Add an error to `broken`; without `skip_broken` raise it as a UserError."""
    if not skip_broken:
        raise UserError(f"{error}, or go on without it: on_error=skip")
    broken.append(str(error))


class Result(NamedTuple):
    """The encoded documents of a part."""

    encoded: Encoded
    seconds: float  # of reading and encoding
    broken: tuple[str, ...] = ()  # errors of files and members that were passed over


@contextmanager
def encode_parts(
    parts: Iterator[CorpusPart], encoder: PartEncoder, workers: int
) -> Iterator[Iterator[tuple[CorpusPart, Result]]]:
    """Encode parts in `workers` processes: yield each with its result, in the order of `parts`, which are read only as
    far ahead as keeps workers busy. Work begins at once, before the first result is read; one worker is this process.

    Raises:
        UserError: a part cannot be read (when its turn comes), or a worker was killed.
    """
    if workers == 1:
        yield ((part, encoder(part)) for part in parts)
        return
    context = start_server()
    pool = ProcessPoolExecutor(workers, context, _start, (encoder,))
    try:
        pending = deque((part, pool.submit(_encode, part)) for part in islice(parts, IN_FLIGHT * workers))
        yield _in_order(pending, parts, pool)
    except BrokenProcessPool as error:
        raise UserError(f"workers = {workers}: one was killed, perhaps for lack of memory; use fewer") from error
    finally:
        pool.shutdown(cancel_futures=True)


def start_server() -> BaseContext:
    """Start the process that workers are forked from, which takes a third of a second: it imports this module. (A fork
    of the present process would copy whatever locks its threads hold; spawned workers would each do the imports.)"""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    return context


def _in_order(
    pending: deque[tuple[CorpusPart, Future[Result]]], parts: Iterator[CorpusPart], pool: ProcessPoolExecutor
) -> Iterator[tuple[CorpusPart, Result]]:
    while pending:
        part, future = pending.popleft()
        result = future.result()
        pending.extend((following, pool.submit(_encode, following)) for following in islice(parts, 1))
        yield part, result


_encoder: PartEncoder
"""Set when a worker starts: sent once, and not with every part."""


def _start(encoder: PartEncoder) -> None:
    global _encoder
    _encoder = encoder
    keep_freed_memory()
    for number in (signal.SIGINT, signal.SIGUSR1):  # they go to the whole group; the parent ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent: one that is killed cannot end its workers, which would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    connection.wait([parent.sentinel])
    os._exit(1)


def _encode(part: CorpusPart) -> Result:
    return _encoder(part)
