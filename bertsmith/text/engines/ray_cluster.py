"""A cluster of Ray: one that is joined, or one of this machine's cores that lives as long as the work."""

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

from bertsmith.cores import num_cores
from bertsmith.errors import UserError, one_line, quoted

INSTALL = 'python -m pip install "bertsmith[ray]"'

WORKER_BYTES = 1_000_000_000
"""Memory that is reserved for a worker, the most that one takes (docs/corpora.md)."""

CONNECT_SECONDS = 10.0  # until a cluster that does not answer is given up; Ray itself would try for minutes

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_LOCAL_STORE_BYTES = 128 << 20  # for arguments of tasks and their results
_TASK_BYTES = 8 << 20  # of arguments, where the documents of a part travel with it
_ROOT = "/tmp"  # of a local cluster's files: names of sockets have at most 107 characters


class RayNode(NamedTuple):
    """A machine of a cluster."""

    id: str
    address: str
    workers: int  # that have a core and their memory


class RayCluster(NamedTuple):
    """A cluster that this process is a part of.

    Attributes:
        address: host:port of its head node.
        is_own: whether it was started for this work.
    """

    address: str
    nodes: list[RayNode]
    is_own: bool

    @property
    def num_workers(self) -> int:
        """How many workers there is room for."""
        return sum(node.workers for node in self.nodes)

    def answers(self) -> bool:
        """Return whether its head node answers, without which nothing goes on for long."""
        return _answers(self.address)


def require_ray(address: str | None) -> None:
    """Raise UserError where Ray is not installed, or `address` is no address of a cluster."""
    if find_spec("ray") is None:
        raise UserError(f"engine = ray: Ray is not installed; {INSTALL}")
    host, _, port = (address or "auto").rpartition(":")
    if address is not None and address != "auto" and not (host and "/" not in host and port.isdecimal()):
        raise UserError(
            f"ray_address = {quoted(address, 80)}: auto or HOST:PORT is wanted, of the head node; the command itself "
            f"runs on a node of the cluster"
        )


@contextmanager
def open_cluster(address: str | None, workers: int | None) -> Iterator[RayCluster]:
    """Join the cluster at `address`, or where that is None start one on this machine for so many workers, None for
    one a core; leave it with the block, or end it.

    Raises:
        UserError: there is none, it does not answer, it has another version of Ray or Python, it has no room for a
            worker, or none can be started.
    """
    where = _find(address)
    with _quiet(), _folder(where) as folder:
        import ray

        if ray.is_initialized():
            raise UserError("engine = ray: this process is a part of a Ray cluster already; call ray.shutdown() before")
        own: dict[str, Any] = {}
        if where is None:
            cores = workers or num_cores()
            store = _LOCAL_STORE_BYTES + 2 * cores * _TASK_BYTES
            own = {"num_cpus": cores, "num_gpus": 0, "object_store_memory": store, "include_dashboard": False}
            own["_temp_dir"] = folder
        chatter = ray._private.worker  # which prints what nodes say of each other, whatever `init` is told
        before, chatter._worker_logs_enabled = getattr(chatter, "_worker_logs_enabled", True), False
        try:
            with _signals_kept():
                _join(where, own)
            yield _joined(is_own=where is None)
        finally:
            ray.shutdown()
            chatter._worker_logs_enabled = before


def _join(where: str | None, own: dict[str, Any]) -> None:
    """Make this process a part of the cluster at `where`, or of one that is started as `own` says."""
    import ray

    said = ""
    try:
        if where is None:
            ray.init(address="local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
            return
        with tempfile.TemporaryFile() as file:  # Ray writes there again and again why it cannot join
            try:
                with _standard_error_to(file):
                    ray.init(address=where, log_to_driver=False, logging_level=logging.CRITICAL)
            finally:
                file.seek(0)
                said = file.read().decode(errors="replace")
    except Exception as error:
        if where is None:
            raise UserError(f"engine = ray: no local cluster could be started ({one_line(error)})") from error
        if "InvalidAuthToken" in said:
            raise UserError(
                f"ray_address: {where} asks for a token; set RAY_AUTH_MODE=token, and have the head node's "
                f"~/.ray/auth_token here too"
            ) from error
        if "Version mismatch" in str(error):
            raise UserError(
                f"ray_address: the cluster at {where} has another version of Ray or Python than this process; install "
                f"the same here\n{_versions(str(error))}"
            ) from error
        raise UserError(f"ray_address: {where} cannot be joined ({one_line(error)})") from error


def _versions(message: str) -> str:
    """Return what Ray's message about versions says of both sides, on a line."""
    found = [line.strip() for line in message.splitlines() if line.strip().startswith(("Ray:", "Python:"))]
    return f"there {', '.join(found[:2])}; here {', '.join(found[2:4])}"


def _joined(is_own: bool) -> RayCluster:
    """Return the cluster that this process is a part of. Raises UserError where it has no room for a worker."""
    import ray

    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            room = int(min(there.get("CPU", 0), there.get("memory", 0) // WORKER_BYTES))
            nodes.append(RayNode(node["NodeID"], node["NodeManagerAddress"], room))
    cluster = RayCluster(ray.get_runtime_context().gcs_address, nodes, is_own)
    if not cluster.num_workers:
        raise UserError(
            f"engine = ray: no node has a core and {WORKER_BYTES / 1e9:.0f} GB of memory for a worker; add "
            f"nodes, or use engine=processes with few workers"
        )
    return cluster


def _find(address: str | None) -> str | None:
    """Return the address of a cluster that answers, as Ray takes it; None where one is to be started."""
    if address is None:
        return None
    given = address
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address_or_die

        try:
            address = canonicalize_bootstrap_address_or_die("auto")
        except (ConnectionError, ValueError) as error:
            raise UserError(
                "ray_address = auto: no cluster runs on this machine; start one with `ray start --head`, give "
                "ray_address=HOST:PORT, or leave it out to use this machine alone"
            ) from error
    if not _answers(address):
        raise UserError(
            f"ray_address: nothing answers at {address}; check the address and the network, or start the cluster with "
            f"`ray start --head`"
        )
    return given  # of "auto" Ray looks for the token of this machine's cluster, of an address it does not


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError, OverflowError, UnicodeError):
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        return True
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from writing on the screen and from reporting its use, in this process and those that it starts."""
    before = {name: os.environ.get(name) for name in _QUIET}
    os.environ.update(_QUIET)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _standard_error_to(file: IO[bytes]) -> Iterator[None]:
    """Have what is written on standard error, by libraries that are not in Python too, go to `file`."""
    before = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give back the handler of SIGTERM, which Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder(address: str | None) -> Iterator[str]:
    """Yield a folder for the files of a local cluster, and remove it; of another nothing."""
    if address is not None:
        yield ""
        return
    folder = tempfile.mkdtemp(prefix="bertsmith-ray-", dir=_ROOT if Path(_ROOT).is_dir() else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
