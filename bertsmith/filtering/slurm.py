"""Stages as array jobs of SLURM, by datatrove's executor: each waits for the one before it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from bertsmith.errors import UserError
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.stages import FilterStage
from bertsmith.filtering.tasks import quiet
from bertsmith.storage.files import write_text

JOBS_FILE = "jobs.json"
"""In the folder of work: the jobs that were submitted last."""


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
    earlier command are still there, or one is refused."""
    if waiting := _waiting(work):
        raise UserError(f"{work.parent}: jobs {', '.join(waiting)} are still in the queue; wait, or `scancel` them")
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
        **options,
    )


def _waiting(work: Path) -> list[str]:
    """Return the jobs of the last command that are still in the queue."""
    if not (work / JOBS_FILE).exists() or shutil.which("squeue") is None:
        return []
    jobs: list[Any] = json.loads((work / JOBS_FILE).read_text())
    found = subprocess.run(
        ["squeue", "--noheader", "--format=%A", f"--user={os.environ.get('USER', '')}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    there = set(found.stdout.split())
    return [job for job in jobs if job in there]
