"""The signals that ask a command to stop: SIGTERM, SIGINT, SIGUSR1 (a batch system's warning that the time is nearly
up, as of SLURM's --signal=USR1@120), and SIGHUP of a terminal that goes away."""

import os
import signal
import sys


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
