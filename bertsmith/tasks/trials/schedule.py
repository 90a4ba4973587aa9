"""All trials that some runs lack: done here one after the other, or in several processes at a time."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch

from bertsmith.cores import num_cores
from bertsmith.tasks.trial import run_trial
from bertsmith.tasks.trials.contexts import Contexts
from bertsmith.tasks.trials.processes import Slot, run_in_processes
from bertsmith.tasks.trials.run import FinetuneRun, Trial


def run_trials(
    runs: Sequence[FinetuneRun], contexts: Contexts, finished: Callable[[FinetuneRun], None] = lambda run: None
) -> None:
    """Do the trials that `runs` lack, as many at a time as their recipes' `jobs` say, and finish each run with its last
    one; those that lack none come first.

    A run's results.json is the same whatever the number of jobs: it is written by this process, by seeds in order. In
    this process trials go in the order of the runs; in several the longest ones begin first.

    Args:
        runs: of one machine and one number of jobs. Their folders are all checked first, and each is open from its
            first trial to its last.
        contexts: which may have been read already.
        finished: called with each run that is finished.

    Raises:
        UserError: a folder is another run's; a trial cannot be done; trials that ran beside it were finished.
        Interrupted: by SIGTERM or SIGINT. Trials that were finished stay.
    """
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run).check()
        for run in runs:
            if not run.missing():
                run.open()
                run.finish()
                finished(run)
        trials = [Trial(run, seed) for run in runs for seed in run.missing()]
        if trials:
            _do(trials, contexts, finished)


def _do(trials: Sequence[Trial], contexts: Contexts, finished: Callable[[FinetuneRun], None]) -> None:
    left = Counter(trial.run for trial in trials)

    def done(trial: Trial) -> None:
        left[trial.run] -= 1  # its folder may be there already while a process is still to say so
        if left[trial.run]:
            trial.run.write_results()
        else:
            trial.run.finish()
            finished(trial.run)

    plan = trials[0].run.plan
    jobs = plan.source.recipe.jobs or default_jobs(plan.machine.device, len(trials))
    if jobs > 1:
        contexts.clear()
        run_in_processes(trials, slots_of(plan.machine.device, min(jobs, len(trials))), done)
        return
    for trial in trials:
        trial.run.open()
        run_trial(contexts.of(trial.run.plan.source), trial.seed, trial.folder)
        done(trial)


def default_jobs(device: torch.device, num_trials: int) -> int:
    """Return how many of `num_trials` trials are done at a time where nobody says: one on each GPU, unless one GPU is
    named; on the CPU one."""
    return min(torch.cuda.device_count(), num_trials) if device.type == "cuda" and device.index is None else 1


def slots_of(device: torch.device, jobs: int) -> list[Slot]:
    """Return where each of `jobs` processes runs: on the GPUs in turn, unless one is named, and on its share of the
    cores. With $OMP_NUM_THREADS each has so many threads."""
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, min(threads, num_cores() // jobs))
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    if gpus == 1:
        return [Slot(threads)] * jobs
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = visible or [str(number) for number in range(gpus)]
    return [Slot(threads, names[number % gpus].strip()) for number in range(jobs)]
