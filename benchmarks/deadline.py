"""Commands that end when the time is over: asked to stop by a signal, so that they save first."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

POLL_SECONDS = 0.05
FINISHED, STOPPED, KILLED, FAILED = "finished", "stopped", "killed", "failed"
SIGTERM_STATUSES = (-15, 143)


class Deadline:
    """A time at which commands are asked to stop."""

    def __init__(self, seconds: float):
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds until then, below 0 after it."""
        return self.at - time.monotonic()


class Ended(NamedTuple):
    """How a command ended."""

    how: str
    seconds: float


def run_until(
    arguments: Sequence[object], deadline: Deadline, grace: float, log: Path, result: Path | None = None
) -> Ended:
    """Run `python -m ARGUMENTS`; at the deadline it gets a SIGTERM, and `grace` seconds later it is killed.

    Args:
        log: a file to which what it prints is added.
        result: in place of that, a file for standard output, written when the command has finished.
    """
    started_at = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    partial = result and result.with_name(result.name + ".partial")
    command = [sys.executable, "-m", *map(str, arguments)]
    with log.open("ab") as file, partial.open("wb") if partial else open(os.devnull, "wb") as out:
        process = subprocess.Popen(command, stdout=out if partial else file, stderr=file)
        try:
            how = _wait(process, deadline, grace)
        finally:
            if process.poll() is None:
                process.kill()
    if partial and result and how == FINISHED:
        partial.replace(result)
    if how == FAILED:
        print(f"{' '.join(command)}: failed; {log} ends in\n{_end(log)}", flush=True)
    return Ended(how, time.monotonic() - started_at)


def _wait(process: subprocess.Popen[bytes], deadline: Deadline, grace: float) -> str:
    asked = False
    while process.poll() is None:
        if asked:
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return KILLED
        elif deadline.left() <= 0:
            process.terminate()
            asked = True
        else:
            time.sleep(POLL_SECONDS)
    if process.returncode == 0:
        return FINISHED
    return STOPPED if asked and process.returncode in SIGTERM_STATUSES else FAILED


def _end(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
