"""A Ray cluster, or one on this machine: tasks of Ray core, and none of its libraries for data.

What a lost worker was doing is given out again here, and not by Ray, whose retries have no bound where memory runs out
and are not seen. The results that have come are in the journal; nothing else of the work is known to the cluster.
"""

import os
import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bertsmith import __version__
from bertsmith.config.plugins import load_plugin, plugin_paths
from bertsmith.console.terminal import say
from bertsmith.errors import UserError, one_line
from bertsmith.storage.code_version import code_version
from bertsmith.text.engines.engine import Pending, Workers
from bertsmith.text.engines.processes import IN_FLIGHT
from bertsmith.text.engines.ray_cluster import WORKER_BYTES, RayCluster, open_cluster, require_ray
from bertsmith.text.engines.ray_worker import WorkerSetup, call_task, check_worker, version_probe
from bertsmith.text.pieces import PIECES_FOLDER, ShardWriter

MAX_LOSSES = 3  # of workers at one task; the next one ends the work
CHECK_SECONDS = 120.0  # in which each node has to say which bertsmith it has
HEAD_SECONDS, LOST_SECONDS = 5.0, 15.0
"""Between two looks for the head node, and without it until the work ends; Ray itself would end this process after 60,
with a page of its own."""

LOOK_SECONDS = 0.05  # between two looks at which tasks are done, where none is waited for


class RayEngine:
    """Workers of Ray: those of a cluster, by its address in `ray_address`, else of one on this machine."""

    def __init__(self, workers: int | None, settings: Any):
        self._workers, self._address = workers, settings.ray_address
        self.num_workers = workers or 1  # known when they have started

    def get_ready(self) -> None:
        require_ray(self._address)

    @contextmanager
    def start(self, shared: ShardWriter) -> Iterator[Workers]:
        with open_cluster(self._address, self._workers) as cluster:
            room = cluster.num_workers
            self.num_workers = min(room, self._workers or room) if cluster.is_own else self._workers or room
            is_limited = self.num_workers < room  # else Ray sees to it, and has the next tasks at hand
            seen = shared.folder.absolute() / PIECES_FOLDER / f"seen-{uuid.uuid4().hex}"
            seen.touch()
            try:
                workers = _RayWorkers(cluster, _setup(shared, str(seen)), self.num_workers)
                workers.at_once = self.num_workers * (1 if is_limited else 2)
                if not cluster.is_own:
                    workers.check_nodes()
                    nodes, number = len(cluster.nodes), self.num_workers
                    say(
                        f"Ray at {cluster.address}: {nodes} node{'s' * (nodes > 1)}, {number:,} "
                        f"worker{'s' * (number > 1)}, {WORKER_BYTES / 1e9:.0f} GB of memory reserved for each",
                        error=True,
                    )
                yield workers
            finally:
                seen.unlink(missing_ok=True)


def _setup(shared: ShardWriter, seen: str) -> WorkerSetup:
    return WorkerSetup(
        version=__version__,
        code=code_version().sha256,
        current=os.getcwd(),
        plugins=tuple((path, load_plugin(path).sha256) for path in plugin_paths()),
        seen=seen,
        shared=pickle.dumps(shared.on_many_machines()),
    )


class _RayTask:
    """A task, until it has a result."""

    def __init__(self, workers: "_RayWorkers", name: str, call: bytes):
        self.workers, self.name, self.call = workers, name, call
        self.losses = 0
        self.outcome: Callable[[], Any] | None = None

    def done(self) -> bool:
        self.workers.look()
        return self.outcome is not None

    def result(self) -> Any:
        self.workers.look()
        while self.outcome is None:
            self.workers.wait()
        return self.outcome()


class _RayWorkers:
    """Workers of a cluster.

    Attributes:
        num_tasks: that may be given out here; most of them wait here, where they take no memory of the cluster.
        at_once: how many of them Ray has at a time.
    """

    def __init__(self, cluster: RayCluster, setup: WorkerSetup, number: int):
        import ray

        self._cluster, self._command = cluster, uuid.uuid4().hex
        self._setup = [ray.put(setup)]
        self.num_tasks, self.at_once = IN_FLIGHT * number, number
        self._task = ray.remote(call_task).options(num_cpus=1, memory=WORKER_BYTES, max_retries=0)
        self._waiting: deque[_RayTask] = deque()
        self._running: dict[Any, _RayTask] = {}
        self._looked_at = self._head_looked_at = self._head_seen_at = time.monotonic()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        name = " ".join((function.__qualname__, *map(str, arguments[: 2 if len(arguments) > 2 else 1])))
        task = _RayTask(self, name, pickle.dumps((function, arguments)))
        self._waiting.append(task)
        self._give_out()
        return task

    def look(self) -> None:
        """Take the results that are there. Raises UserError where the head node is gone."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._take()

    def wait(self) -> None:
        """Return when there is a result, or after some seconds. Raises UserError where the head node is gone."""
        import ray

        ray.wait(list(self._running), num_returns=1, timeout=HEAD_SECONDS)
        self._take()

    def check_nodes(self) -> None:
        """Raise UserError where a node has another bertsmith, or does not see the folder; each is asked once."""
        import ray

        versions = self._ask_nodes(ray.remote(version_probe()))
        for address, version in versions:
            if version != __version__:
                found = f"has bertsmith {version}, the command {__version__}" if version else "has no bertsmith"
                raise UserError(f"node {address}: {found}; install bertsmith[ray]=={__version__} there")
        self._ask_nodes(ray.remote(check_worker), self._command, self._setup)

    def _ask_nodes(self, function: Any, *arguments: Any) -> list[tuple[str, Any]]:
        """Return what the function returns on each node, by the node's address."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = []
        for node in self._cluster.nodes:
            place = NodeAffinitySchedulingStrategy(node.id, soft=False)
            options = function.options(num_cpus=0, max_retries=1, scheduling_strategy=place)
            asked.append((node.address, options.remote(*arguments)))
        ends_at = time.monotonic() + CHECK_SECONDS
        answers = []
        for address, reference in asked:
            try:
                answers.append((address, ray.get(reference, timeout=max(0.1, ends_at - time.monotonic()))))
            except ray.exceptions.GetTimeoutError:
                raise UserError(f"node {address}: does not answer within {CHECK_SECONDS:.0f} s; take it out") from None
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except ray.exceptions.RayError as error:
                raise UserError(f"node {address}: {one_line(error)}; start the same command again") from error
        return answers

    def _give_out(self) -> None:
        while self._waiting and len(self._running) < self.at_once:
            task = self._waiting.popleft()
            self._running[self._task.remote(self._command, self._setup, task.call)] = task

    def _look_for_head(self) -> None:
        if time.monotonic() - self._head_looked_at > HEAD_SECONDS:
            if self._cluster.answers():
                self._head_seen_at = time.monotonic()
            elif time.monotonic() - self._head_seen_at > LOST_SECONDS:
                raise UserError(
                    f"Ray's head node ({self._cluster.address}) no longer answers; what is finished is kept: start the "
                    f"cluster again, then the same command"
                )
            self._head_looked_at = time.monotonic()

    def _take(self) -> None:
        import ray

        self._look_for_head()
        self._looked_at = time.monotonic()
        if not self._running:
            return
        ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        lost = [task for reference in ready if not self._settle(task := self._running.pop(reference), reference)]
        if lost:
            self._waiting.extendleft(reversed(lost))
            say(f"a node or worker of Ray was lost: what it was doing ({len(lost)}) is done again", error=True)
        self._give_out()

    def _settle(self, task: _RayTask, reference: Any) -> bool:
        """Give a task its outcome; return False where its worker was lost and it is to be done again."""
        import ray

        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            task.outcome = partial(_raise, _cause(error))
        except ray.exceptions.RayError as error:
            task.losses += 1
            if task.losses <= MAX_LOSSES:
                return False
            task.outcome = partial(_raise, UserError(
                f"engine = ray: {task.losses} workers were lost one after another at {task.name}, perhaps for lack of "
                f"memory ({one_line(error)}); what is finished is kept"
            ))  # fmt: skip
        else:
            task.outcome = partial(_return, value)
        return True


def _cause(error: Any) -> Exception:
    """Return what a task raised, of Ray's error about it."""
    return error.cause if isinstance(error.cause, UserError) else error


def _raise(error: Exception) -> Any:
    raise error


def _return(value: Any) -> Any:
    return value
