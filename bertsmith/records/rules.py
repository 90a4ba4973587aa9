"""The rules of the record, of which records/README.md has the reasons: the board of an entry, and what it breaks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.records.evidence import Evidence, GlueEvidence, TaskEvidence
from bertsmith.reports.averages import PROTOCOLS, average, reservations
from bertsmith.storage.code_version import UNKNOWN_CODE
from bertsmith.tasks.departures import glue_departures
from bertsmith.tasks.metrics import summarize
from bertsmith.tasks.published.glue import GLUE

BOARDS = {15_000_000: "at most 15 M parameters", 120_000_000: "at most 120 M parameters"}
"""The most parameters of the encoder, embeddings included and heads left out → the board's name."""

MIN_SEEDS = 5

NO_SETTINGS = ("model", "data", "mismatched_dev")
"""Keys of the identity of a task's run that hold hashes."""


def board_of(num_encoder_parameters: int) -> str | None:
    """Return the smallest board for an encoder of so many parameters; None where it is too large for all."""
    return next((name for most, name in BOARDS.items() if num_encoder_parameters <= most), None)


def broken_rules(evidence: Evidence, num_encoder_parameters: int) -> list[str]:
    """Return why the evidence makes no eligible entry, a line a reason; empty where it does."""
    broken = list(_pretraining(evidence))
    if board_of(num_encoder_parameters) is None:
        broken.append(f"the encoder has {num_encoder_parameters:,} parameters, more than {max(BOARDS):,}")
    for protocol in PROTOCOLS:
        if protocol in evidence.glue:
            broken += [f"{protocol}: {line}" for line in _glue(protocol, evidence)]
        else:
            broken.append(f"there is no run of `bertsmith glue` with protocol={protocol}")
    return [*broken, *_dev_sets(evidence)]


def scored_tasks(found: GlueEvidence) -> dict[str, dict[str, Any]]:
    """Return the tasks of a GLUE run as its results.json has them, computed of the trials' own results.

    Raises:
        UserError: a trial lacks a metric that is summarized.
    """
    rows = {}
    for task, row in found.results["tasks"].items():
        if task not in found.tasks:
            raise UserError(f"{found.folder / 'results.json'}: has {quoted(task, 60)}, of which there is no run")
        trials = found.tasks[task].trials
        for seed, trial in trials.items():
            if lacking := row["summary"].keys() - trial["metrics"].keys():
                raise UserError(f"{found.folder}: {task}, seed {seed} has no {quoted(min(lacking), 60)}")
        metrics = {name: [trial["metrics"][name] for trial in trials.values()] for name in row["summary"]}
        if not trials:
            raise UserError(f"{found.folder}: {task} has no trial")
        rows[task] = {
            "from_mnli": found.is_transferred(task),
            "trials": [{"seed": seed, "metrics": trial["metrics"]} for seed, trial in trials.items()],
            "summary": {name: summarize(scores) for name, scores in metrics.items()},
        }
    return rows


def glue_averages(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Return protocol → its average over the run of that protocol (`bertsmith.reports.averages.average`)."""
    averages = {}
    for protocol, found in evidence.glue.items():
        tasks = scored_tasks(found)
        departures = glue_departures({task: task_identity(found.tasks[task]) for task in tasks})
        averages[protocol] = average(PROTOCOLS[protocol], tasks, departures[protocol])
    return averages


def task_identity(task: TaskEvidence) -> dict[str, Any]:
    """Return the settings in the identity of a task's run."""
    return {key: value for key, value in task.manifest["identity"].items() if key not in NO_SETTINGS}


def _pretraining(evidence: Evidence) -> Iterator[str]:
    manifest, recipe, state = evidence.manifest, evidence.recipe, evidence.state
    if not manifest["finished"] or state.progress(recipe.plan) < 1:
        yield f"pre-training is not finished: it is at step {state.step:,}"
    if "init" in manifest["identity"] or recipe.init is not None:
        yield f"it began with the weights of another model (init={recipe.init}), and not from random ones"
    if "branch" in manifest["identity"] or recipe.branch is not None:
        yield f"it is a branch of {recipe.branch}, whose recipe and log, the beginning of this run, are not attached"
    if plugins := manifest["identity"].get("plugin_hashes"):
        yield f"it needs plugins whose code is not attached: {', '.join(map(str, plugins))}"
    machines = manifest.get("machines") or [manifest["environment"].get("machine")]
    if len(machines) > 1:
        yield f"it was trained on several machines ({', '.join(machines)}), so its hours are of no one GPU"
    if any(machine is None or " CPU, " in str(machine) for machine in machines):
        yield f"it was trained on {machines[-1]}; the record counts hours of a GPU"
    yield from _code(manifest.get("code", []))


def _code(versions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield why a run was not trained by one version of the code, whose commit is known."""
    if not versions or any(code["sha256"] == UNKNOWN_CODE.sha256 for code in versions):
        yield "its manifest does not say which code trained it, or a part of it, as those of earlier versions"
    elif len(versions) > 1:
        commits = ", ".join(str(code["commit"] or "no commit")[:12] for code in versions)
        yield f"it was trained by {len(versions)} versions of the code ({commits}), so no one commit gives it again"
    elif versions[0]["commit"] is None:
        yield "its code is of no commit, as that of an installed package; train from a git checkout"


def _glue(protocol: str, evidence: Evidence) -> Iterator[str]:
    found = evidence.glue[protocol]
    if not found.manifest["finished"]:
        yield "the run is not finished"
    yield from reservations(glue_averages(evidence)[protocol])
    faults: dict[str, list[str]] = {}
    for task in dict.fromkeys(task for task, _ in PROTOCOLS[protocol].scores):
        for fault, detail in _task(task, found.tasks[task]) if task in found.tasks else ():
            faults.setdefault(fault, []).append(f"{task} {detail}")
    for fault, details in faults.items():
        yield f"{fault}: {'; '.join(details)}"


def _dev_sets(evidence: Evidence) -> Iterator[str]:
    """Yield whether a task's dev examples differ between the protocols, by the hashes that its runs have of them."""
    hashes: dict[str, set[str]] = {}
    for found in evidence.glue.values():
        for task, row in found.tasks.items():
            identity = row.manifest["identity"]
            known = {task: identity.get("data", [])[1:2], f"{task} mismatched": [identity.get("mismatched_dev")]}
            for name, digests in known.items():
                hashes.setdefault(name, set()).update(digest for digest in digests if isinstance(digest, str))
    if differing := [name for name, known in hashes.items() if len(known) > 1]:
        yield f"the protocols were scored on different dev examples: {', '.join(differing)}"


def _task(name: str, task: TaskEvidence) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a task's run, and the detail."""
    seeds = sorted(task.trials)
    if len(seeds) < MIN_SEEDS:
        yield f"fewer than {MIN_SEEDS} seeds", str(len(seeds))
    if seeds != list(range(len(seeds))):
        yield "some seeds were left out", f"has {', '.join(map(str, seeds))}"
    if learnt := task.manifest.get("learnt_before"):
        yield "the model had learnt other tasks before", f"after {', '.join(learnt)}"
    if (scored_on := task.manifest.get("scored_on", "dev")) != "dev":
        yield "not scored on dev", quoted(scored_on, 40)
    counts: dict[Any, tuple[int, ...]] = {**GLUE[name].counts}
    for split in ("train", "dev"):
        number = task.manifest["examples"].get(split, 0)
        if number not in counts[split]:
            published = " or ".join(f"{count:,}" for count in counts[split])
            yield "not the published examples", f"{split} {number:,} of {published}"
