"""This process, or several on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any

from bertsmith.console.signals import holding_stops
from bertsmith.cores import num_cores
from bertsmith.errors import UserError
from bertsmith.memory import keep_freed_memory
from bertsmith.text.engines.engine import Pending, Workers

PRELOADED = "bertsmith.text.part_encoder"  # what workers import, once for all of them

IN_FLIGHT = 4
"""Tasks per worker that are given out and whose results are not yet taken: while a slow one is waited for, work goes
on."""


_IGNORED = (signal.SIGINT, signal.SIGUSR1)  # they go to the whole group; the parent ends its workers


class ProcessEngine:
    """Processes on this machine; a single worker is this process."""

    def __init__(self, workers: int | None, settings: Any = None):
        self.num_workers = workers or num_cores()

    def get_ready(self) -> None:
        if self.num_workers > 1:
            _start_server()

    @contextmanager
    def start(self, shared: Any) -> Iterator[Workers]:
        if self.num_workers == 1:
            yield _ThisProcess(shared)
            return
        number = self.num_workers
        pool = ProcessPoolExecutor(number, _start_server(), _start, (shared,))
        try:
            yield _Processes(pool, number)
        except BrokenProcessPool as error:
            raise UserError(f"workers = {number}: one was killed, perhaps for lack of memory; use fewer") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_server() -> BaseContext:
    """Start the process that workers are forked from, which takes a third of a second: it does their imports. (A fork
    of the present process would copy whatever locks its threads hold; spawned workers would each do the imports.)"""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, PRELOADED])
    resource_tracker.ensure_running()  # which lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # in workers too, which inherit it, while they start
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


class _ThisProcess:
    """The present process as a worker."""

    num_tasks = 1

    def __init__(self, shared: Any):
        self._shared = shared

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "_Deferred":
        return _Deferred(function, (self._shared, *arguments))


class _Deferred:
    """A task that is done when it is asked for."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]):
        self._function, self._arguments = function, arguments
        self._outcome: Future[Any] = Future()

    def done(self) -> bool:
        if not self._outcome.done():
            try:
                self._outcome.set_result(self._function(*self._arguments))
            except Exception as error:
                self._outcome.set_exception(error)
        return True

    def result(self) -> Any:
        self.done()
        return self._outcome.result()


class _Processes:
    """A pool of processes."""

    def __init__(self, pool: ProcessPoolExecutor, number: int):
        self._pool, self.num_tasks = pool, IN_FLIGHT * number

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        with holding_stops():  # it starts a worker, perhaps, which would print a page about what it was not told
            return self._pool.submit(_call, function, *arguments)


_shared: Any
"""Set when a worker starts: sent once, and not with every task."""


def _start(shared: Any) -> None:
    global _shared
    _shared = shared
    keep_freed_memory()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent: one that is killed cannot end its workers, which would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has one"
    connection.wait([parent.sentinel])
    os._exit(1)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(_shared, *arguments)
