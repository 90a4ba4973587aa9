"""A task of a stage, wherever it is done: datatrove runs it, notes that it is done, and keeps its log and statistics.

Engines of `bertsmith.text.engines` deal the tasks out: a pool of datatrove's local executor waits for ever for a worker
that was killed, and its executor for Ray ends without an error where a task has failed.
"""

import contextlib
import copy
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from loguru import logger

from bertsmith.console.progress import progress_bar
from bertsmith.errors import UserError, one_line
from bertsmith.filtering.stages import FilterStage, tally_folder
from bertsmith.storage.files import remove_tree
from bertsmith.text.engines.engine import Engine, results_in_order


class StageTasks:
    """The tasks of a stage, as workers are given them.

    Attributes:
        folder: the folder of the result, which all workers must see.
        executor: datatrove's, for one task at a time.
    """

    def __init__(self, folder: Path, stage: FilterStage, work: Path):
        self.folder = folder
        self.executor = _executor(stage, work)

    def on_many_machines(self) -> "StageTasks":
        """Return the same for workers on several machines, as Ray's engine asks for: files are closed there."""
        return self

    def do(self, rank: int) -> None:
        """Do a task, unless it was done before. Raises UserError where it fails, with the first line of why and the log
        that says where."""
        try:
            with quiet():
                copy.deepcopy(self.executor)._run_for_rank(rank)  # steps count what they see
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            log = f"{self.executor.logging_dir.path}/logs/task_{rank:05d}.log"
            raise UserError(f"task {rank}: {type(error).__name__} ({one_line(error)}); see {log}") from error


def forget_after_unfinished(stages: list[FilterStage], work: Path) -> None:
    """Have the stages after the first unfinished one begin again: what they have read was not all there."""
    unfinished = [stage.name for stage in stages if _executor(stage, work).get_incomplete_ranks()]
    names = [stage.name for stage in stages]
    for name in names[names.index(unfinished[0]) + 1 :] if unfinished else ():
        for folder in (work / "logs" / name, work / name, tally_folder(work, name)):
            remove_tree(folder)


def run_stage(stage: FilterStage, label: str, folder: Path, work: Path, engine: Engine) -> None:
    """Do the tasks of a stage that are not yet done."""
    tasks = StageTasks(folder, stage, work)
    todo = tasks.executor.get_incomplete_ranks()
    if not todo:
        return
    with progress_bar(label, stage.tasks, stage.tasks - len(todo)) as bar, engine.start(tasks) as workers:
        calls = ((rank,) for rank in todo)
        for number, _ in enumerate(results_in_order(workers, StageTasks.do, calls), stage.tasks - len(todo) + 1):
            bar.update(number, f"{number:,} of {stage.tasks:,} tasks")


def _executor(stage: FilterStage, work: Path) -> Any:
    logs = str(work / "logs" / stage.name)
    return LocalPipelineExecutor(stage.steps, tasks=stage.tasks, workers=1, logging_dir=logs)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep datatrove's log off the screen; it is in files."""
    before = sys.stderr
    logger.remove()  # what loguru began with writes to the standard error of the time it was imported at
    sys.stderr = _Nowhere()
    try:
        yield
    finally:
        sys.stderr = before
        logger.remove()


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)
