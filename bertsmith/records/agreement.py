"""Evidence in, the contradictions in it out: figures of one file that do not follow from the others.

An honest run has none. What is compared is what a run's files hold more than once, or what follows from them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bertsmith.config.loading import defaults, identity, read_toml
from bertsmith.config.plugins import IDENTITY
from bertsmith.errors import quoted
from bertsmith.records.evidence import Evidence, GlueEvidence
from bertsmith.records.rules import glue_averages, scored_tasks, task_identity
from bertsmith.storage.files import sha256_file
from bertsmith.storage.folders import as_written_now, differences
from bertsmith.text.shards import Data, data_hash
from bertsmith.text.weights import training_shares
from bertsmith.training.mixing import data_identity

ELSEWHERE = ("init", "branch", IDENTITY)
"""Keys of an identity that hold the hashes of files which are not evidence."""


def contradictions(evidence: Evidence) -> list[str]:
    """Return a line for each contradiction, with the file that it is in."""
    found = [*_recipe(evidence), *_data(evidence), *_log(evidence)]
    for protocol, glue in evidence.glue.items():
        found += [*_glue_run(protocol, glue, evidence), *_scores(glue)]
    models = {glue.manifest["identity"]["model"] for glue in evidence.glue.values()}
    if len(models) > 1:
        found.append(f"{evidence.sources.run}: the GLUE runs are of two different models")
    return found


def compared(said: Any, computed: Any, name: str = "") -> Iterator[str]:
    """Yield a line for each part of a JSON value that is not what was computed; numbers may differ in the last bits."""
    if isinstance(said, Mapping) and isinstance(computed, Mapping):
        for key in dict.fromkeys([*computed, *said]):
            inside = f"{name}.{key}" if name else str(key)
            if key not in said or key not in computed:
                what = "is left out" if key in computed else "does not follow from the files"
                yield f"{quoted(inside, 120)[1:-1]} {what}"
            else:
                yield from compared(said[key], computed[key], inside)
    elif isinstance(said, list) and isinstance(computed, list) and len(said) == len(computed):
        for number, (one, other) in enumerate(zip(said, computed, strict=True)):
            yield from compared(one, other, f"{name}[{number}]")
    elif not _alike(said, computed):
        yield f"{quoted(name, 120)[1:-1]} is {quoted(said, 60)}; by the files it is {quoted(computed, 60)}"


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return type(one) is type(other) and bool(one == other)


def _recipe(evidence: Evidence) -> Iterator[str]:
    """Hold the run's recipe to its manifest."""
    run, manifest = evidence.sources.run, evidence.manifest
    for line in compared(manifest["recipe"], read_toml(run / "recipe.toml"), "recipe"):
        yield f"{run / 'manifest.json'}: {line}"
    recipe = replace(evidence.recipe, plugins=())
    known = {key: value for key, value in manifest["identity"].items() if key not in ELSEWHERE}
    data = Data(run, evidence.data)
    own = identity(recipe) | data_identity(data, training_shares(data, recipe.weights))
    for line in differences(as_written_now(known, own, defaults(recipe)), own):
        yield f"{run / 'manifest.json'}: identity: {line}, by its recipe and data"


def _data(evidence: Evidence) -> Iterator[str]:
    """Hold what the run says of its data to the data folder's manifest."""
    run, manifest, data = evidence.sources.run, evidence.manifest, evidence.data
    shards = data["shards"]
    said = {
        "data.hash": manifest["data"].get("hash"), "tokenizer": manifest.get("tokenizer"),
        "vocab_size": manifest["vocab_size"], "data.documents": manifest["data"]["documents"],
        "data.tokens": manifest["data"]["tokens"],
    }  # fmt: skip
    computed = {
        "data.hash": data_hash(data), "tokenizer": data["tokenizer"]["fingerprint"],
        "vocab_size": data["tokenizer"]["vocab_size"],
        "data.documents": sum(shard["documents"] for shard in shards.get("train", ())),
        "data.tokens": {split: sum(shard["tokens"] for shard in rows) for split, rows in shards.items()},
    }  # fmt: skip
    for line in compared(said, computed):
        yield f"{run / 'manifest.json'}: {line}"


def _log(evidence: Evidence) -> Iterator[str]:
    """Hold the log and the manifest to the newest checkpoint, whose hash its own manifest has."""
    run, manifest, state, lines = evidence.sources.run, evidence.manifest, evidence.state, evidence.lines
    if manifest["finished"]:
        said = {key: manifest.get(key) for key in ("steps", "tokens", "seconds")}
        for line in compared(said, {"steps": state.step, "tokens": state.tokens, "seconds": state.seconds}):
            yield f"{run / 'manifest.json'}: {line}"
    most = state.step * max(stage.tokens_a_step for stage in evidence.recipe.all_stages)
    if state.tokens > most:
        yield f"{run}: {state.tokens:,} tokens in {state.step:,} steps, which have {most:,} at most"
    where = run / "metrics.jsonl"
    last: dict[str, float] = {"step": 0, "tokens": 0, "seconds": 0.0}
    for row in lines:
        if row["split"] == "warning":
            continue
        for name, before in last.items():
            value = row.get(name)
            if value is None or value < before - 0.001:  # of training lines seconds are rounded
                yield f"{where}: step {row['step']}: {name} is {quoted(value, 40)} after {before:,}"
            else:
                last[name] = max(before, value)
    if manifest["finished"]:
        ends = {"step": state.step, "tokens": state.tokens, "seconds": state.seconds}
        for name, value in last.items():
            if abs(value - ends[name]) > 0.001:
                yield f"{where}: ends at {name} {value:,}, where the newest checkpoint has {ends[name]:,}"
    held_out = [row for row in lines if row["split"] == "heldout"]
    if held_out and held_out[-1]["step"] == state.step and manifest["finished"]:
        measures = manifest.get("measures", {})
        for line in compared(measures, {name: held_out[-1].get(name) for name in measures}):
            yield f"{run / 'manifest.json'}: measures: {line}"


def _glue_run(protocol: str, glue: GlueEvidence, evidence: Evidence) -> Iterator[str]:
    """Hold a GLUE run's manifest to its place and to those of its tasks."""
    where, own = glue.folder / "manifest.json", glue.manifest["identity"]
    for name, value in {"identity": own["protocol"], "results.json": glue.results.get("protocol")}.items():
        if value != protocol:
            yield f"{where}: {name}: the protocol is {quoted(value, 40)}, not {protocol}"
    for task, found in glue.tasks.items():
        inside = glue.folder / "tasks" / task / "manifest.json"
        if found.manifest["task"] != task:
            yield f"{inside}: is of {quoted(found.manifest['task'], 60)}"
        if found.manifest.get("tokenizer") != evidence.manifest.get("tokenizer"):
            yield f"{inside}: another tokenizer's than the run's"
        for key, value in task_identity(found).items():
            shared = own.get(key)
            shared = shared.get(task) if isinstance(shared, dict) else shared
            if key in own and not _alike(shared, value):
                yield f"{inside}: {key} is {quoted(value, 40)}, in the GLUE run's manifest {quoted(shared, 40)}"


def _scores(glue: GlueEvidence) -> Iterator[str]:
    """Hold results.json to the trials' own results, and these to the hashes in the trials' manifests."""
    computed = scored_tasks(glue)
    for line in compared(_by_seed(glue.results["tasks"]), _by_seed(computed), "tasks"):
        yield f"{glue.folder / 'results.json'}: {line}"
    for task in glue.tasks.keys() - computed.keys():
        yield f"{glue.folder / 'results.json'}: {task} is left out"
    for task, found in glue.tasks.items():
        for seed, trial in found.trials.items():
            path = glue.folder / "tasks" / task / "trials" / f"seed-{seed}" / "results.json"
            if found.hashes[seed].get("results.json") != sha256_file(path):
                yield f"{path}: its hash is not the one in the trial's manifest.json"
            for name, value in trial["metrics"].items():
                if not -1 <= value <= 1:
                    yield f"{path}: {name} is {quoted(value, 40)}, which no score is"
            right = trial["metrics"].get("accuracy", 0) * found.manifest["examples"].get("dev", 0)
            if abs(right - round(right)) > 1e-6 * max(1, right):
                yield f"{path}: accuracy {trial['metrics']['accuracy']} is of no whole number of dev examples"


def _by_seed(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """Return tasks of a results.json with their trials by seed, in any order."""
    return {
        task: row | {"trials": {str(trial["seed"]): trial["metrics"] for trial in row["trials"]}}
        for task, row in tasks.items()
    }


def stored_averages(evidence: Evidence) -> Iterator[str]:
    """Yield a line for each average in a results.json that does not follow from its scores."""
    for protocol, found in glue_averages(evidence).items():
        glue = evidence.glue[protocol]
        for line in compared(glue.results["averages"].get(protocol, {}), found, f"averages.{protocol}"):
            yield f"{glue.folder / 'results.json'}: {line}"
