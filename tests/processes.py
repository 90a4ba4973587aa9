"""Processes that need not import torch first, as they are forked from one that has."""

import functools
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parent / "hostile"
CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "pytest", "hypothesis", "hypothesis.strategies", "torch", "numpy", "tokenizers", "pyarrow.parquet", "safetensors",
    "pydantic.dataclasses", "pydantic.type_adapter", "bertsmith.cli.app", "bertsmith.tasks.recipe",
    "bertsmith.predict.predictor", "bertsmith.hub.tensorflow", "bertsmith.text.encoding", "bertsmith.training.pretrain",
    "torch._dynamo", "warm",
]  # fmt: skip
"""Imported once, in the process from which the others are forked, with all tests of the room `hostile`."""


@functools.cache
def start_server() -> None:
    """Have the server import what it preloads, which is no part of a process's time.

    A process has one such server: one that `prepare` has started in another test knows nothing of ours, and would have
    each of our processes import all of it.
    """
    forkserver._forkserver._stop()
    CONTEXT.set_forkserver_preload([*PRELOADED, *(f"tests.hostile.{path.stem}" for path in HOSTILE.glob("test_*.py"))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (*sys.path, HOSTILE))))  # the server finds them by it alone
        process = CONTEXT.Process(target=int)
        process.start()
    process.join()


def start_program(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdout: str | Path = os.devnull,
    stderr: str | Path = os.devnull,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start the program, as `python -m bertsmith` does, with its output in files."""
    start_server()
    words = ["bertsmith", *map(str, arguments)]
    process = CONTEXT.Process(target=_run_program, args=(words, cwd or Path.cwd(), (stdout, stderr), environment or {}))
    process.start()
    return process


def _run_program(words: list[str], cwd: Path, outputs: tuple[str | Path, ...], environment: Mapping[str, str]) -> None:
    from bertsmith.__main__ import main

    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in enumerate(outputs, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = words
    main()
