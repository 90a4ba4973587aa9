"""A process that does trials, one after another, for `bertsmith.tasks.trials.processes`, which describes the lines that
it reads and writes."""

import contextlib
import io
import json
import os
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from bertsmith.config.plugins import fault_in_plugin, load_plugin
from bertsmith.console.terminal import open_streams
from bertsmith.errors import Interrupted, UserError, one_line
from bertsmith.memory import out_of_memory
from bertsmith.tasks.trial import run_trial
from bertsmith.tasks.trials.contexts import Contexts, RunSource
from bertsmith.tasks.trials.processes import IGNORED_SIGNALS


def work() -> None:
    """Do the trials that come on standard input, until it ends or SIGTERM comes."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    open_streams()
    lines: SimpleQueue[bytes] = SimpleQueue()
    is_busy, has_ended = threading.Event(), threading.Event()
    threading.Thread(target=_read, args=(lines, is_busy, has_ended), daemon=True).start()

    def answer(outcome: str, **content: str) -> None:
        os.write(answers, json.dumps({"outcome": outcome, **content}).encode("ascii") + b"\n")

    contexts, plugins = Contexts(), None
    try:
        while line := lines.get():
            if plugins is None:
                plugins = json.loads(line)["plugins"]
                continue
            is_busy.set()
            if has_ended.is_set():
                return
            outcome, content = _do(contexts, json.loads(line), plugins, lambda text: answer("read", text=text))
            is_busy.clear()
            answer(outcome, **content)
            if outcome == "stopped":
                return
    except (Interrupted, BrokenPipeError):
        return


def _do(
    contexts: Contexts, job: dict[str, Any], plugins: list[str], read: Callable[[str], None]
) -> tuple[str, dict[str, str]]:
    """Do a trial, and return how it ended; `read` is called with what was said of its examples."""
    said = io.StringIO()
    try:
        for plugin in plugins:
            load_plugin(plugin)
        with contextlib.redirect_stderr(said):
            context = contexts.of(RunSource.from_json(job["source"]))
        read(said.getvalue())
        run_trial(context, job["seed"], Path(job["folder"]))
    except Interrupted as error:
        return "stopped", {"text": f"was stopped by {signal.Signals(error.number).name}"}
    except UserError as error:
        return "refused", {"text": str(error)}
    except Exception as error:
        if fault := out_of_memory(error) or fault_in_plugin(error):
            return "refused", {"text": fault}
        text = f"{type(error).__name__}: {one_line(error)}"
        return "failed", {"text": text, "traceback": traceback.format_exc()}
    return "done", {}


def _read(lines: "SimpleQueue[bytes]", is_busy: threading.Event, has_ended: threading.Event) -> None:
    """Take lines from standard input. Where it ends during a trial, so did the process that asked for it, and its lock
    on the run's folder: then this one ends at once."""
    with open(0, "rb", closefd=False) as stream:
        for line in stream:
            lines.put(line)
    has_ended.set()
    lines.put(b"")
    if is_busy.is_set():
        os._exit(1)


def _stop(number: int, frame: object) -> NoReturn:
    raise Interrupted(number)


if __name__ == "__main__":
    work()
