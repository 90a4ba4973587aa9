"""Stages as array jobs of SLURM, by datatrove's executor: each waits for the one before it.

A stage has as many tasks as fit in one array, so that one job is all of it: of several, datatrove has the next stage
wait for the last one only.
"""

import getpass
import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from bertsmith.errors import UserError, one_line
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.stages import FilterStage
from bertsmith.filtering.tasks import forget_after_unfinished, quiet
from bertsmith.storage.files import write_text

JOBS_FILE = "jobs.json"
"""In the folder of work: the jobs that were submitted last."""

SQUEUE_SECONDS = 60.0


class SlurmJobs(SlurmPipelineExecutor):  # type: ignore[misc]
    """A stage as an array job."""

    def launch_merge_stats(self) -> None:
        """Submit no further job for datatrove's statistics, which nobody reads: counts are in tallies."""


def check_slurm(recipe: FilterRecipe) -> None:
    """Raise UserError where no job can be submitted."""
    if shutil.which("sbatch") is None:
        raise UserError("engine = slurm: there is no sbatch on this machine; run the command on the login node")
    if not recipe.slurm.partition:
        raise UserError("engine = slurm: slurm.partition=NAME is needed; `sinfo` lists them")


def submit_stages(stages: list[FilterStage], recipe: FilterRecipe, work: Path) -> list[str]:
    """Submit a job for each stage that has tasks to do, and return their ids. Raises UserError where the jobs of an
    earlier command are still there or may be, one is refused, or others could change what jobs load."""
    _refuse_shared(work)
    if waiting := _waiting(work):
        raise UserError(f"{work.parent}: jobs {', '.join(waiting)} are still in the queue; wait, or `scancel` them")
    forget_after_unfinished(stages, work)
    jobs, previous = [], None
    for stage in stages:
        job = _job(stage, recipe, work, previous)
        try:
            with quiet():
                job.launch_job()
        except subprocess.CalledProcessError:
            raise UserError(f"engine = slurm: sbatch refused the job {job.job_name}, and has said why") from None
        if job.job_id != -1:
            jobs.append(str(job.job_id))
        previous = job
        write_text(work / JOBS_FILE, json.dumps(jobs))
    return jobs


def _job(stage: FilterStage, recipe: FilterRecipe, work: Path, previous: SlurmJobs | None) -> SlurmJobs:
    asked, options = recipe.slurm, {}
    if recipe.workers:
        options["workers"] = recipe.workers
    return SlurmJobs(
        pipeline=stage.steps,
        tasks=stage.tasks,
        time=asked.time,
        partition=asked.partition,
        mem_per_cpu_gb=asked.memory_gb,
        qos=asked.qos,
        env_command=asked.setup or None,
        job_name=f"bertsmith-{stage.name}",
        logging_dir=str((work / "logs" / stage.name).resolve()),
        depends=previous,
        max_array_size=-1,  # one array
        **options,
    )


def _refuse_shared(work: Path) -> None:
    """Raise UserError where others own the folder of work or can write there, or can put another one in its place:
    jobs load a pickle out of it."""
    own = work.resolve()
    if own.stat().st_uid != os.geteuid():
        raise UserError(f"{work}: is somebody else's, who could run code in the jobs; choose another --out")
    for folder in (own, *own.parents):
        found = folder.stat()
        keeps_names = folder != own and found.st_mode & stat.S_ISVTX  # nobody renames there what is another's
        by_others = stat.S_IWOTH | (0 if _is_of_user_alone(found.st_gid) else stat.S_IWGRP)
        if found.st_mode & by_others and not keeps_names:
            raise UserError(
                f"{folder}: others can write there, and so run code in the jobs; `chmod go-w` it, or `chmod +t`, or "
                f"choose an --out elsewhere"
            )


def _is_of_user_alone(group: int) -> bool:
    """Return whether a group is the one of this user's name, as many systems make one for each, with nobody else."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return found.gr_gid == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def _waiting(work: Path) -> list[str]:
    """Return the jobs of the last command that are still in the queue. Raises UserError where that cannot be known."""
    if not (work / JOBS_FILE).exists():
        return []
    jobs: list[Any] = json.loads((work / JOBS_FILE).read_text())
    command = ["squeue", "--noheader", "--format=%F", f"--user={getpass.getuser()}"]  # %F: an array's own id
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SQUEUE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        why = one_line(getattr(error, "stderr", None) or error)
        raise UserError(
            f"{work.parent}: squeue failed ({why}), so that jobs {', '.join(jobs)} may still be in the queue; try again"
        ) from None
    there = set(found.stdout.split())
    return [job for job in jobs if job in there]
