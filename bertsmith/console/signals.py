"""The signals that ask a command to stop: SIGTERM, SIGINT, SIGUSR1 (a batch system's warning that the time is nearly
up, as of SLURM's --signal=USR1@120), and SIGHUP of a terminal that goes away."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from bertsmith.errors import Interrupted


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals; SIGHUP and SIGUSR1 only where they are not ignored, as SIGHUP is under nohup."""
    others = [number for number in (signal.SIGHUP, signal.SIGUSR1) if signal.getsignal(number) != signal.SIG_IGN]
    return (signal.SIGTERM, signal.SIGINT, *others)


def leave_terminal(number: int) -> None:
    """Let what is printed go nowhere after a SIGHUP, one of the signals that may have come, since writing to a terminal
    that is gone fails."""
    if number != signal.SIGHUP:
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.isatty():
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def raising_when_stopped() -> Iterator[None]:
    """Raise Interrupted as soon as one of `stop_signals` comes, whoever else would act on it, and later perhaps. In
    another thread than the first, which alone may, nothing is changed."""

    def stop(number: int) -> None:
        leave_terminal(number)
        raise Interrupted(number)

    with _handling_stops(stop):
        yield


@contextlib.contextmanager
def holding_stops() -> Iterator[None]:
    """Hold back `stop_signals` until the block is done, so that what it begins is whole, as a process that it starts.
    In another thread than the first, where none is acted on, nothing is changed."""
    held: list[int] = []
    try:
        with _handling_stops(held.append):
            yield
    finally:
        for number in held:
            signal.raise_signal(number)


@contextlib.contextmanager
def _handling_stops(act: Callable[[int], None]) -> Iterator[None]:
    """Have `act` called with each of `stop_signals` that comes, in the first thread; in others nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_inside = True

    def handle(number: int, frame: object) -> None:
        if is_inside:
            act(number)
        elif callable(handler := previous[number]):  # between two of the lines that give the handlers back
            handler(number, frame)

    previous: dict[int, Any] = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        for number in previous:
            signal.signal(number, handle)
        yield
    finally:
        is_inside = False
        for number, handler in previous.items():
            signal.signal(number, handler)
