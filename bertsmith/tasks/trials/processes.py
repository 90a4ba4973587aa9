"""Trials in several processes at a time: started, watched, done again where a process is killed, stopped together.

A process (`bertsmith.tasks.trials.worker`) does one trial after another. It reads each as a line of JSON from its
standard input, whose end says that this process is gone or needs it no longer; it answers with a line on its standard
output; what it has to say goes to its standard error, and from there to ours a line at a time.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, NamedTuple

import bertsmith
from bertsmith.config.plugins import plugin_paths
from bertsmith.console.progress import Progress, progress_bar
from bertsmith.console.signals import raising_when_stopped
from bertsmith.errors import UserError
from bertsmith.storage.files import remove_tree, reported, temporary_of
from bertsmith.tasks.trials.run import Trial

WORKER = "bertsmith.tasks.trials.worker"
GRACE_SECONDS = 10.0
"""Given to processes that are asked to stop: they do so after a step of training, and leave nothing half-written."""

IGNORED_SIGNALS = {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
"""Signals that may go to all processes of a command: the first one acts on them, and ends the others."""


class Slot(NamedTuple):
    """What one process has of the machine."""

    threads: int
    gpu: str | None = None
    """As in $CUDA_VISIBLE_DEVICES; None leaves that as it is."""

    def environment(self) -> dict[str, str]:
        """Return the environment of the process, in which it imports the package from where this one has it."""
        package = str(Path(bertsmith.__file__).resolve().parents[1])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        gpu = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        own = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(self.threads), **gpu}
        return {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | own


def run_in_processes(trials: Sequence[Trial], slots: Sequence[Slot], done: Callable[[Trial], None]) -> None:
    """Do each of `trials`, the longest first, in a process for each of `slots`; `done` is called here after each.

    A trial whose process is killed is done again, once.

    Raises:
        UserError: a trial cannot be done, or its process was killed twice; it is named. Trials that ran beside it were
            finished, and none was begun after it.
        RuntimeError: of another error in a process, which is its cause.
        Interrupted: by one of `stop_signals`; no process is left.
    """
    with raising_when_stopped(), progress_bar("trials", len(trials)) as bar:
        pool = _Pool(trials, done, bar)
        is_finished = False
        try:
            pool.run(slots)
            is_finished = True
        finally:
            pool.end(is_finished)
    if pool.failure is not None:
        raise pool.failure


class _Pool:
    """The processes of `run_in_processes`, and what is left to do."""

    def __init__(self, trials: Sequence[Trial], done: Callable[[Trial], None], bar: Progress):
        self.trials, self.done, self.bar = trials, done, bar
        self.waiting = deque(sorted(trials, key=lambda trial: -trial.cost))
        self.begun: list[Trial] = []
        self.begun_again: list[Trial] = []
        self.finished: list[Trial] = []
        self.said: set[tuple[str, str]] = set()
        self.failure: Exception | None = None
        self.workers: list[_Worker] = []
        self.events: SimpleQueue[_Event] = SimpleQueue()

    def run(self, slots: Sequence[Slot]) -> None:
        """Do all trials, or those until one fails."""
        gpus = sorted({slot.gpu for slot in slots if slot.gpu is not None})
        threads = slots[0].threads
        where = f"on {len(gpus)} GPUs" if gpus else f"{threads} thread{'s' * (threads > 1)} each"
        self.bar.line(f"{len(self.trials)} trials, {len(slots)} at a time, {where}")
        for slot in slots:
            self._begin(_Worker(slot, self.events))
        while any(worker.trial for worker in self.workers):
            worker, is_note, line = self.events.get()
            if is_note:
                self._show(worker, line)
            elif line is not None:
                self._take(worker, json.loads(line))
            elif worker.trial is not None:
                self._redo(worker, _how_ended(worker.status()))

    def end(self, is_finished: bool) -> None:
        """Return when no process is left, nor anything that one had begun to write."""
        try:
            for worker in self.workers:
                if is_finished:
                    worker.release()
                else:
                    worker.process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
            for worker in self.workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self.workers:
                worker.kill()
                worker.release()
        for worker in self.workers:
            worker.join()
        with suppress(Empty):
            while True:
                worker, is_note, line = self.events.get_nowait()
                if is_note:
                    self._show(worker, line)
        for trial in self.begun:
            if trial not in self.finished:
                with reported(trial.folder):
                    remove_tree(temporary_of(trial.folder))

    def _begin(self, worker: "_Worker") -> None:
        """Give a process its next trial, if there is one."""
        if worker not in self.workers:
            self.workers.append(worker)
        if self.waiting:
            trial = self.waiting.popleft()
            try:
                trial.run.open()
            except UserError as error:  # another command is at work in its folder, say
                self._fail(trial, error)
                return
            self.begun.append(trial)
            worker.give(trial)

    def _take(self, worker: "_Worker", answer: dict[str, Any]) -> None:
        """Act on what a process answered."""
        trial = worker.trial
        assert trial is not None, "it answers to a trial"
        outcome, text = answer["outcome"], answer.get("text", "")
        if outcome == "read":
            self._show_read(trial, text)
            return
        if outcome == "stopped":  # by somebody who knows its process alone
            self._redo(worker, text)
            return
        worker.trial = None
        if outcome == "done":
            self._finish(trial)
            self._begin(worker)
        elif outcome == "refused":
            self._fail(trial, UserError(f"{trial.name}: {text}"))
        else:
            error = RuntimeError(f"{trial.name}: {text}")
            error.__cause__ = _InProcess(answer["traceback"])
            self._fail(trial, error)

    def _finish(self, trial: Trial) -> None:
        self.finished.append(trial)
        self.done(trial)
        scores = {each["seed"]: each["metrics"] for each in trial.run.results["trials"]}
        headline = trial.run.plan.metrics[0]
        self.bar.line(f"{trial.name}: {headline} {scores[trial.seed][headline]:.4f}")
        self.bar.update(len(self.finished), f"{len(self.finished)} of {len(self.trials)}")

    def _redo(self, worker: "_Worker", how: str) -> None:
        """Do the trial of a process that is gone again in another one; fail where that is gone too."""
        trial, worker.trial = worker.trial, None
        assert trial is not None, "it had one"
        if trial.folder.is_dir():  # it was about to say so
            self._finish(trial)
            if self.waiting:
                self._begin(_Worker(worker.slot, self.events))
        elif trial in self.begun_again:
            fewer = "; perhaps memory ran out: use fewer jobs" if "SIGKILL" in how and len(self.workers) > 1 else ""
            self._fail(trial, UserError(f"{trial.name}: its process {how}, for the second time{fewer}"))
        elif self.failure is None:
            self.bar.line(f"{trial.name}: its process {how}; the trial is done again")
            self.begun_again.append(trial)
            self.waiting.appendleft(trial)
            self._begin(_Worker(worker.slot, self.events))

    def _fail(self, trial: Trial, error: Exception) -> None:
        """Begin no more trials; the first error is the one to raise."""
        self.failure = self.failure or error
        self.waiting.clear()
        if any(worker.trial for worker in self.workers):
            self.bar.line(f"{trial.name}: failed; the trials that run beside it are finished first")

    def _show_read(self, trial: Trial, text: str) -> None:
        """Print what there is to say of a run's examples, which each process says that reads them, once."""
        run = trial.run.plan.source.name
        for line in text.splitlines():
            if (run, line) not in self.said:
                self.said.add((run, line))
                self.bar.line(line if line.startswith(run) else f"{run}: {line}")

    def _show(self, worker: "_Worker", line: str | None) -> None:
        """Print a line of a process, which begins with its trial's name."""
        if line:
            self.bar.line(line if line.startswith(worker.name) else f"{worker.name}: {line}")


class _InProcess(Exception):
    """The traceback of an error in another process."""

    def __init__(self, traceback: str):
        super().__init__(f"\n{traceback}")


class _Worker:
    """A process, with the trial that it is at."""

    def __init__(self, slot: Slot, events: "SimpleQueue[_Event]"):
        self.slot, self.name = slot, ""
        self.trial: Trial | None = None
        command = [sys.executable, "-P", "-m", WORKER]  # -P: no module of the present folder is taken for another
        before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)  # until it ignores them
        try:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=slot.environment())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        streams = ((self.process.stdout, False), (self.process.stderr, True))
        self._threads = [
            threading.Thread(target=_read, args=(self, stream, is_note, events), daemon=True)
            for stream, is_note in streams
        ]
        for thread in self._threads:
            thread.start()
        self._write({"plugins": plugin_paths()})

    def give(self, trial: Trial) -> None:
        """Have the process do a trial."""
        self.trial, self.name = trial, trial.name
        source = trial.run.plan.source.to_json()
        self._write({"source": source, "seed": trial.seed, "folder": str(trial.folder)})

    def release(self) -> None:
        """Have the process end, which is at no trial."""
        with suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def status(self) -> int | None:
        """Return the exit status of the process, which no longer answers: it is killed where it does not end by itself
        within seconds. None where the system cannot end it yet."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(GRACE_SECONDS)
        return self.kill()

    def kill(self) -> int | None:
        """End the process, if it has not ended; return its status, as `status`."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):  # as where it waits for a disk that has gone
            return self.process.wait(GRACE_SECONDS)
        return None

    def join(self) -> None:
        """Wait until what it said has been read; not for ever, as others may hold its standard error."""
        for thread in self._threads:
            thread.join(1.0)

    def _write(self, content: dict[str, Any]) -> None:
        with suppress(OSError):  # it is gone, as the end of its standard output says too
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(content).encode("ascii") + b"\n")
            self.process.stdin.flush()


_Event = tuple[_Worker, bool, str | None]
"""A line of a process, None for the end; and whether it is a note, on standard error."""


def _read(worker: _Worker, stream: IO[bytes], is_note: bool, events: "SimpleQueue[_Event]") -> None:
    """Pass on each line of a process."""
    with stream:
        for line in stream:
            events.put((worker, is_note, line.decode("utf-8", "backslashreplace").rstrip()))
    events.put((worker, is_note, None))


def _how_ended(status: int | None) -> str:
    """Return how a process ended, by its status, as in "was killed by SIGKILL"."""
    if status is None:
        return "cannot be ended"
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"
