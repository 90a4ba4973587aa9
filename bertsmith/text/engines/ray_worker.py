"""What a worker of Ray does: get ready once, by what the command has left for it, then call what it is given."""

import os
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith import __version__
from bertsmith.config.plugins import load_plugin
from bertsmith.errors import UserError
from bertsmith.memory import keep_freed_memory
from bertsmith.storage.code_version import code_version


class WorkerSetup(NamedTuple):
    """What all workers of a command are given.

    Attributes:
        version, code: of the command's bertsmith: its number, and a hash of its files.
        current: the folder that the command runs in, which its paths count from.
        plugins: path and sha256 of each.
        seen: a file that the command has left in the folder that all nodes have to see.
        shared: what all tasks share, pickled.
    """

    version: str
    code: str
    current: str
    plugins: tuple[tuple[str, str], ...]
    seen: str
    shared: bytes


_ready: tuple[str, Any] = ("", None)
"""The command that this process is ready for, and what all its tasks share."""


def call_task(command: str, setup: list[Any], call: bytes) -> Any:
    """Do a task of a command: a function and its arguments, pickled. `setup` holds the reference of its `WorkerSetup`,
    in a list so that it is fetched once a process and not with each task.

    Raises:
        UserError: of the task, or as `check_worker`.
    """
    shared = _get_ready(command, setup)
    function, arguments = pickle.loads(call)
    return function(shared, *arguments)


def check_worker(command: str, setup: list[Any]) -> None:
    """Get ready for a command's tasks. Raises UserError where bertsmith is another one here, a plugin is missing or
    another, or the folder that all nodes have to see is not seen here or cannot be written."""
    _get_ready(command, setup)


def _get_ready(command: str, setup: list[Any]) -> Any:
    global _ready
    if _ready[0] != command:
        import ray

        found: WorkerSetup = ray.get(setup[0])
        try:
            _ready = (command, _set_up(found))
        except UserError as error:
            raise UserError(f"node {ray.util.get_node_ip_address()}: {error}") from None
        keep_freed_memory()
    return _ready[1]


def _set_up(setup: WorkerSetup) -> Any:
    """Return what all tasks share."""
    if __version__ != setup.version:
        raise UserError(f"has bertsmith {__version__}, the command {setup.version}; install {setup.version} there")
    if code_version().sha256 != setup.code:
        raise UserError(f"its bertsmith {__version__} has other code than the command's; install the same there")
    try:
        os.chdir(setup.current)
    except OSError as error:
        raise UserError(
            f"{setup.current}: {error.strerror}; start the command in a folder that all nodes have"
        ) from None
    for path, sha256 in setup.plugins:
        if load_plugin(path).sha256 != sha256:
            raise UserError(f"{path}: the plugin has other content here than where the command runs; copy it")
    _check_folder(Path(setup.seen))
    return pickle.loads(setup.shared)


def _check_folder(seen: Path) -> None:
    folder = seen.parent.parent
    if not seen.is_file():
        raise UserError(f"does not see {folder}; --out must be in a folder that all nodes share, under the same path")
    own = seen.with_name(f"seen-{uuid.uuid4().hex}")
    try:
        own.touch()
        own.unlink()
    except OSError as error:
        raise UserError(f"{folder}: nothing can be written there ({error.strerror})") from None


def version_probe() -> Callable[[], str]:
    """Return a function that returns the version of bertsmith, "" where there is none. It travels by value, being
    inside of another one, so that it runs whatever is installed."""

    def find_version() -> str:
        try:
            from bertsmith import __version__ as found
        except ImportError:
            return ""
        return str(found)

    return find_version
