"""What asks a command to stop: SIGTERM, SIGINT, and SIGHUP of a terminal that goes away."""

import os
import signal
import sys


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals; not SIGHUP where it is ignored, as under nohup."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if ignored else (signal.SIGHUP,)))


def leave_terminal(number: int) -> None:
    """To be called with the signal that came: after a SIGHUP what is printed goes nowhere, since writing to a terminal
    that is gone fails."""
    if number != signal.SIGHUP:
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.isatty():
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
