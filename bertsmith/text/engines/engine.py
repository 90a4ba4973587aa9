"""What an engine is: tasks in, their results out, wherever they are done."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Protocol, TypeVar

Call = TypeVar("Call", bound=tuple[Any, ...])


class Pending(Protocol):
    """A task that was given out."""

    def done(self) -> bool:
        """Return whether `result` returns at once."""

    def result(self) -> Any:
        """Return what the task returned, once it has ended; raise what it raised."""


class Workers(Protocol):
    """Workers that wait for tasks."""

    @property
    def num_tasks(self) -> int:
        """How many tasks to give out before the first result is taken."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        """Give out a task: a function of a module (or a method, by its class), called with the object that all workers
        share, and with these arguments, which can be pickled. Tasks may be done in any order, and twice where a worker
        is lost; what they write takes its name when it is whole, and is the same bytes each time."""


class Engine(Protocol):
    """Where work is done. A registered engine is a class or function that makes one of (workers, settings): how many
    workers were asked for, None for as many as there can be, and the recipe, for settings of the engine's own."""

    @property
    def num_workers(self) -> int:
        """How many workers there are."""

    def get_ready(self) -> None:
        """Begin what takes time, while the corpus is listed."""

    def start(self, shared: Any) -> AbstractContextManager[Workers]:
        """Start workers that are each given `shared` once, and end them with the block.

        Raises:
            UserError: they cannot be started, or one of them was lost and cannot be replaced.
        """


def results_in_order(
    workers: Workers, function: Callable[..., Any], calls: Iterator[Call]
) -> Iterator[tuple[Call, Any]]:
    """Have workers do a task for each of `calls`, which are its arguments, and return an iterator over each with its
    result, in the order of `calls`, which are taken only as far ahead as keeps workers busy.

    Work begins at once, before the first result is taken; what a task raises is raised when its turn comes.
    """

    def in_order() -> Iterator[tuple[Call, Any]]:
        while pending:
            call, task = pending.popleft()
            result = task.result()
            pending.extend((following, workers.submit(function, *following)) for following in islice(calls, 1))
            yield call, result

    pending = deque((first, workers.submit(function, *first)) for first in islice(calls, workers.num_tasks))
    return in_order()
