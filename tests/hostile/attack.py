"""Read damaged files in processes of their own, and hold what comes of it to what the house promises.

Promised is: a value that is right, or a `UserError` of one or two lines without control characters; within 20 seconds
and a bounded memory; never another exception, a crash, or a hang.
"""

import functools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError

SECONDS = 20
"""Of CPU time; a machine that is busy with other things proves no hang."""
WAIT_SECONDS = 240
"""For an answer, after which a read hangs without using the CPU."""
MEMORY = 2 << 30
"""Bytes of address space that a read may take beyond what the process had before."""
HERE = Path(__file__).parent
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that could steer a terminal; of a message, line feeds and tabs apart."""
LINE = 600
"""Characters of a line of a message; it quotes at most 200 of each of a few values."""

few_and_many = pytest.mark.parametrize("examples", [20, pytest.param(200, marks=pytest.mark.slow)])
"""Decorates a test with how many damaged files it tries: 20 in `make test`, 200 more in `make test-all`."""

_server = multiprocessing.get_context("forkserver")
PRELOADED = [
    "pytest", "hypothesis", "hypothesis.strategies", "torch", "numpy", "tokenizers", "pyarrow.parquet", "safetensors",
    "pydantic.dataclasses", "pydantic.type_adapter", "bertsmith.tasks.recipe", "bertsmith.predict.predictor",
    "bertsmith.hub.tensorflow", "bertsmith.text.encoding", "torch._dynamo", "warm",
]  # fmt: skip
"""Imported once, in the process from which each attempt's own is forked."""


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
    """Read `examples` damaged versions of the file `name` of a folder, each in a copy of that folder.

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
    copy = work / "damaged"
    shutil.copytree(original, copy, symlinks=True, dirs_exist_ok=True)
    refusal = outcome(read, copy)
    assert refusal is None, f"the undamaged example is not read: {refusal}"

    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged)
    def attempt(content: bytes) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(original, copy, symlinks=True)
        (copy / name).write_bytes(content)
        outcome(read, copy)

    attempt()


def outcome(read: Callable[[Path], object], folder: Path) -> str | None:
    """Return the message with which `read` refused `folder`; None where it read it.

    Raises:
        AssertionError: it did neither, or the message is not as promised.
    """
    _start_server()
    ours, theirs = _server.Pipe(duplex=False)
    process = _server.Process(target=_child, args=(read, folder, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(WAIT_SECONDS):
            raise AssertionError(f"no answer in {WAIT_SECONDS} s")
        kind, text = ours.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"the process died: {_cause(process.exitcode)}") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    assert kind != "fault", text
    if kind == "read":
        return None
    lines = text.split("\n")
    assert len(lines) <= 2, f"a message of {len(lines)} lines: {text}"
    assert not STEERING.search(text), f"control characters: {text!r}"
    assert all(0 < len(line) <= LINE for line in lines), f"a line of {max(map(len, lines))} characters: {text[:2000]}"
    return text


@functools.cache
def _start_server() -> None:
    """Have the server import what it preloads and all tests of this room, which is no part of an attempt's time.

    A process has one such server: one that `prepare` has started in another test knows nothing of ours, and would have
    each attempt import all of it.
    """
    forkserver._forkserver._stop()
    _server.set_forkserver_preload([*PRELOADED, *(f"tests.hostile.{path.stem}" for path in HERE.glob("test_*.py"))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server finds test modules by it alone
        process = _server.Process(target=int)
        process.start()
    process.join()


def _child(read: Callable[[Path], object], folder: Path, pipe: Connection) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(folder)
        pipe.send(("read", ""))
    except UserError as error:
        pipe.send(("refused", str(error)))
    except BaseException:
        pipe.send(("fault", traceback.format_exc()))
    pipe.close()


def _cause(code: int | None) -> str:
    if code == -signal.SIGPROF:
        return f"it took longer than {SECONDS} s of CPU time"
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
