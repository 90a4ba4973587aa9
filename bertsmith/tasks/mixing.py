"""Several tasks in one run: which ones, where their files are, and how often each has its turn."""

from collections.abc import Collection, Sequence

import numpy as np

from bertsmith.config.fields import setting, settings
from bertsmith.errors import quoted

SEVERAL = "several"
"""The task of such a run."""


@settings
class SeveralSettings:
    """The tasks of a run of several; every other setting but `custom.…` is for all of them."""

    tasks: tuple[str, ...] = setting((), "names of two tasks at least")
    power: float = setting(
        0.75,
        "a task's share of the batches goes with its number of training rows to this power: 1 by size, 0 all alike; "
        "between them small tasks are neither drowned nor repeated dozens of times",
        ge=0,
        le=1,
    )
    folders: dict[str, str] = setting({}, "task → its folder, of tasks that are not in `data`", identity=False)

    def check(self, known: Collection[str]) -> None:
        """Raise ValueError where these tasks, of those `known`, are no run of several."""
        given = ", ".join(self.tasks) or "none"
        if len(self.tasks) < 2:
            raise ValueError(f"several.tasks: {given}; name two at least, as in \"several.tasks=['rte','mrpc']\"")
        for task in self.tasks:
            if task == SEVERAL or task not in known:
                there = ", ".join(name for name in known if name != SEVERAL)
                raise ValueError(f"several.tasks: {quoted(task, 60)} is not one of {there}")
            if self.tasks.count(task) > 1:
                raise ValueError(f"several.tasks: {task} is there {self.tasks.count(task)} times; name it once")
        for task in self.folders:
            if task not in self.tasks:
                raise ValueError(f"several.folders.{task}: several.tasks has no such task, but {given}")


def shares(sizes: Sequence[int], power: float) -> np.ndarray:
    """Return with which probability a batch is of each task; they add up to 1."""
    weights = np.array(sizes, dtype=np.float64) ** power
    return weights / weights.sum()


def head_of(task: str) -> str:
    """Return a task's name among the weights: "heads.HEAD.…"; torch has no points in a module's name."""
    return task.replace(".", "_")
