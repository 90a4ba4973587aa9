"""Read damaged files in a process apart, and hold what comes of it to what the house promises.

Promised is: a value that is right, or a `UserError` of one or two lines without control characters; within 20 seconds
and a bounded memory; never another exception, a crash, or a hang.
"""

import itertools
import re
import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from tests.processes import CONTEXT, start_server

SECONDS = 20
"""Of CPU time; a machine that is busy with other things proves no hang."""
WAIT_SECONDS = 240
"""For an answer, after which a read hangs without using the CPU."""
MEMORY = 2 << 30
"""Bytes of address space that a read may take beyond what the process had before."""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that could steer a terminal; of a message, line feeds and tabs apart."""
LINE = 600
"""Characters of a line of a message; it quotes at most 200 of each of a few values."""

few_and_many = pytest.mark.parametrize("examples", [20, pytest.param(200, marks=pytest.mark.slow)])
"""Decorates a test with how many damaged files it tries: 20 in `make test`, 200 more in `make test-all`."""


def example(work: Path, files: Mapping[str, bytes | str]) -> Path:
    """Return a new folder in `work` with these files, by name: a whole example, to be given to `attack`."""
    folder = work / "original"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def attack(
    damaged: st.SearchStrategy[bytes],
    examples: int,
    original: Path,
    name: str,
    read: Callable[[Path], object],
    work: Path,
) -> None:
    """Read `examples` damaged versions of the file `name` of a folder, each in a copy of that folder, one after another
    in one process.

    Args:
        damaged: the bytes of the damaged file; see `mutation`.
        original: a folder with a whole example; its content is copied for each attempt.
        name: the file in it that is damaged, relative to the folder.
        read: a function at the top of a test module. It is given the copy and reads the file as the program does, then
            asserts of what it read whatever can be known: equal to another reader's result, or to the undamaged value
            where a hash protects it, or in range. What it raises decides: `UserError` and none are well, any other
            exception is a fault.
        work: a folder to copy into, `tmp_path`.

    Raises:
        AssertionError: a promise was broken; says which, with the child's traceback.
    """
    with Reader(read) as reader:
        copy = shutil.copytree(original, work / "whole", symlinks=True)
        refusal = reader.outcome(copy)
        assert refusal is None, f"the undamaged example is not read: {refusal}"
        shutil.rmtree(copy)
        numbers = itertools.count(1)  # a folder of another name each, of which the process can remember nothing

        @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(damaged)
        def attempt(content: bytes) -> None:
            copy = shutil.copytree(original, work / f"damaged-{next(numbers)}", symlinks=True)
            (copy / name).write_bytes(content)
            reader.outcome(copy)
            shutil.rmtree(copy)

        attempt()


def outcome(read: Callable[[Path], object], folder: Path) -> str | None:
    """Return the message with which `read` refused `folder`; None where it read it. See `Reader.outcome`."""
    with Reader(read) as reader:
        return reader.outcome(folder)


class Reader:
    """A process that reads one folder after another, each within the promised time, all within the memory promised to
    one. After a fault the next folder is read by another process."""

    def __init__(self, read: Callable[[Path], object]):
        self.read = read
        self.process: BaseProcess | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def outcome(self, folder: Path) -> str | None:
        """Return the message with which `read` refused `folder`; None where it read it.

        Raises:
            AssertionError: it did neither, or the message is not as promised.
        """
        if self.process is None:
            self._begin()
        try:
            self.pipe.send(folder)
            if not self.pipe.poll(WAIT_SECONDS):
                self._end()
                raise AssertionError(f"no answer in {WAIT_SECONDS} s")
            kind, text = self.pipe.recv()
        except (EOFError, OSError):
            raise AssertionError(f"the process died: {_cause(self._end())}") from None
        if kind == "fault":
            self._end()
            raise AssertionError(text)
        if kind == "read":
            return None
        lines = text.split("\n")
        assert len(lines) <= 2, f"a message of {len(lines)} lines: {text}"
        assert not STEERING.search(text), f"control characters: {text!r}"
        longest = max(map(len, lines))
        assert all(lines) and longest <= LINE, f"a line of {longest} characters: {text[:2000]}"
        return text

    def _begin(self) -> None:
        start_server()
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_child, args=(self.read, theirs))
        self.process.start()
        theirs.close()

    def _end(self) -> int | None:
        """End the process, and return the status with which it had ended by itself."""
        process, self.process = self.process, None
        if process is None:
            return None
        self.pipe.close()
        process.join(1)
        process.kill()
        process.join()
        return process.exitcode


def _child(read: Callable[[Path], object], pipe: Connection) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    while True:
        try:
            folder = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            read(folder)
            answer = "read", ""
        except UserError as error:
            answer = "refused", str(error)
        except BaseException:
            answer = "fault", traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(answer)


def _cause(code: int | None) -> str:
    if code == -signal.SIGPROF:
        return f"it took longer than {SECONDS} s of CPU time"
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
