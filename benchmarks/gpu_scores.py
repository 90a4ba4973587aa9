"""The scores of the real run's arms, measured by several processes until a deadline, and the report on all of it."""

import argparse
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.deadline import FAILED, Deadline, Ended, run_until
from benchmarks.gpu_arms import Standing, folder_of, read_plan, so_far, standing_of
from benchmarks.trials import Trials
from bertsmith.reports.averages import PUBLISHED, QUOTED_METRICS
from bertsmith.storage.json_files import read_json, read_optional

TASKS = {"sst-2": "SST-2", "cola": "CoLA", "mrpc": "MRPC", "sts-b": "STS-B", "rte": "RTE"}
"""Those of GLUE whose training files are small enough to be carried → their folders; the longest first."""
SEEDS = 5
ALL_PAIRS = 1000
"""Of each paradigm of BLiMP."""

FULL_FLOPS = 1.15e18
"""Of `electra-small-owt`'s million steps, by the count of `bertsmith plan`."""
CURVE = {0.0625: 74.1, 0.125: 76.0, 0.25: 77.7, 0.5: 79.0, 1.0: 79.9}
"""Share of ELECTRA-small's steps → its GLUE score on dev, the mean of eight tasks (Clark et al. 2020, Table 1:
Wikipedia and Books, median of 10 fine-tunings). No scores by task are published but of the whole run on OpenWebText."""
PUBLISHED_RUN = "ELECTRA-Small-OWT"


class Job(NamedTuple):
    """One thing that is measured of a finished arm, in a process of its own."""

    arm: str
    what: str
    """A task, or "blimp"."""
    arguments: list[str]
    result: Path
    """A JSON file."""

    def run(self, deadline: Deadline, grace: float) -> Ended:
        log = self.result.parent.with_suffix(".log") if self.what != "blimp" else self.result.with_suffix(".log")
        return run_until(self.arguments, deadline, grace, log, self.result if self.what == "blimp" else None)

    def done(self, seeds: int) -> bool:
        found = read_optional(self.result)
        return bool(found) if self.what == "blimp" else len(found.get("trials", ())) >= seeds


def measure(given: argparse.Namespace, arms: Mapping[str, Any], deadline: Deadline, trials: Trials) -> bool:
    """Measure what is missing of finished arms; returns whether nothing failed. A stopped task keeps its trials."""
    jobs = [job for job in jobs_of(given, arms) if not job.done(given.seeds)]
    with ThreadPoolExecutor(given.jobs) as pool:
        measured = list(pool.map(partial(_one, deadline, given.grace), jobs))
    for job, ended in zip(jobs, measured, strict=True):
        if ended is not None:
            note_work(trials, job.what, job.arm, ended)
    return all(ended is None or ended.how != FAILED for ended in measured)


def _one(deadline: Deadline, grace: float, job: Job) -> Ended | None:
    if deadline.left() <= 0:
        return None
    job.result.parent.mkdir(parents=True, exist_ok=True)
    return job.run(deadline, grace)


def note_work(trials: Trials, what: str, who: str, ended: Ended, **figures: float) -> None:
    """Keep how a piece of work on an arm ended, with its number, and print it."""
    number = sum((trial["what"], trial["who"]) == (what, who) for trial in trials.content["trials"])
    trials.add(what, who, number, {"seconds": ended.seconds, "ended": ended.how, **figures})


def jobs_of(given: argparse.Namespace, arms: Mapping[str, Any]) -> list[Job]:
    """Return all that is to be measured of the finished arms, done or not."""
    work, jobs = given.work, []
    for name, arm in arms.items():
        if not standing_of(work, name, arm).finished:
            continue
        model, scores = folder_of(work, name), scores_of(work, name)
        for task in given.tasks:
            settings = [
                f"model={model}", f"data={work / 'glue'}", f"seeds={given.seeds}", f"machine.device={given.device}",
                *given.settings,
            ]  # fmt: skip
            arguments = ["bertsmith", "finetune", task, *settings, "--out", str(scores / task)]
            jobs.append(Job(name, task, arguments, scores / task / "results.json"))
        settings = [f"blimp={work / 'blimp'}", f"pairs={ALL_PAIRS}", f"machine.device={given.device}"]
        arguments = ["bertsmith", "evaluate", str(model), *settings, "--json"]
        jobs.append(Job(name, "blimp", arguments, scores / "blimp.json"))
    return jobs


def scores_of(work: Path, name: str) -> Path:
    return work / "scores" / folder_of(work, name).name


def report(work: Path, trials: Trials) -> dict[str, Any]:
    """Return what the folder of work holds, note it among the trials and print it."""
    plan = read_plan(work)
    arms = {name: _row(work, name, arm, standing_of(work, name, arm)) for name, arm in plan["arms"].items()}
    owt = next(row for row in PUBLISHED if row.model == PUBLISHED_RUN)
    published = {
        "curve": [{"flops": share * FULL_FLOPS, "glue": score} for share, score in CURVE.items()],
        "by task": {PUBLISHED_RUN: {task: owt.scores[task] for task in TASKS}},
        "mean of five": {PUBLISHED_RUN: statistics.mean(owt.scores[task] for task in TASKS)},
    }
    content = {"flops": plan["flops"], "arms": arms, "published": published}
    for section, value in content.items():
        trials.note("report", section, value)
    print("\n".join(table(content)))
    return content


def _row(work: Path, name: str, arm: dict[str, Any], standing: Standing) -> dict[str, Any]:
    tasks = {}
    for task in TASKS:
        found = read_optional(scores_of(work, name) / task / "results.json")
        metric = QUOTED_METRICS[task]
        if found.get("trials"):
            tasks[task] = {"metric": metric, "seeds": len(found["trials"])} | found["summary"][metric]
    blimp = scores_of(work, name) / "blimp.json"
    whole = len(tasks) == len(TASKS) and standing.finished
    tokens, flops = so_far(arm, standing.step)
    return arm | {
        "step": standing.step, "finished": standing.finished, "flops so far": flops, "seconds": standing.seconds,
        "curve": standing.curve, "tokens/s": tokens / standing.seconds if standing.seconds else None,
        "pinned_loss": standing.curve[-1][-1] if standing.curve else None, "tasks": tasks,
        "mean of five": statistics.mean(row["median"] for row in tasks.values()) if whole else None,
        "blimp": read_json(blimp, dict)["blimp"]["overall"] if blimp.exists() else None,
    }  # fmt: skip


def table(content: dict[str, Any]) -> list[str]:
    """Return lines for people, scores × 100, medians of the seeds."""
    width = 28
    lines = [
        f"{content['flops']:.3g} operations an arm (matrix products, rows as full); dev sets, medians of the seeds",
        "", f"{'':{width}}{'FLOPs':>9}{'pinned':>8}" + "".join(f"{task:>8}" for task in TASKS)
        + f"{'of five':>9}{'BLiMP':>8}",
    ]  # fmt: skip
    for name, row in content["arms"].items():
        scores = "".join(_number(row["tasks"].get(task, {}).get("median"), 100) for task in TASKS)
        blimp = row["blimp"] and row["blimp"]["accuracy"]
        lines.append(
            f"{name:{width}}{row['flops so far']:9.2e}{_number(row['pinned_loss'])}{scores}"
            f"{_number(row['mean of five'], 100, 9)}{_number(blimp, 100)}"
        )
    published = content["published"]
    for model, scores in published["by task"].items():
        by_task = "".join(_number(scores[task]) for task in TASKS)
        mean = _number(published["mean of five"][model], 1, 9)
        lines.append(f"{model + ', published':{width}}{FULL_FLOPS:9.2e}{_number(None)}{by_task}{mean}{_number(None)}")
    lines += ["", "ELECTRA-small at parts of its budget, published: the mean of eight tasks, not of these five"]
    lines += [f"{'':{width}}{row['flops']:9.2e}{row['glue']:8.1f}" for row in published["curve"]]
    unfinished = [name for name, row in content["arms"].items() if not row["finished"]]
    lines += [
        f"unfinished: {name}, step {content['arms'][name]['step']:,} of {content['arms'][name]['steps']:,}"
        for name in unfinished
    ]
    return lines


def _number(value: float | None, factor: float = 1.0, width: int = 8) -> str:
    return f"{'–':>{width}}" if value is None else f"{factor * value:{width}.2f}"
