"""Evidence in, what an entry of the record claims out: nothing in it but what follows from the files."""

from collections.abc import Mapping
from typing import Any

from bertsmith.encoders.config import training_flops
from bertsmith.encoders.encoder import num_parameters
from bertsmith.records.evidence import Evidence, GlueEvidence
from bertsmith.records.rules import board_of, broken_rules, glue_averages, scored_tasks
from bertsmith.storage.json_files import finite
from bertsmith.text.shards import data_hash
from bertsmith.training.recipe import PretrainRecipe, reference_flops_per_token

MAX_CURVE = 100
"""Points of the curve in an entry; its log has all."""
NO_CURVE = ("split",)


def entry_of(evidence: Evidence) -> dict[str, Any]:
    """Return the content of entry.json."""
    manifest, recipe, state = evidence.manifest, evidence.recipe, evidence.state
    objective = evidence.objective()
    parameters = {"encoder": num_parameters(objective.encoder), "trained": num_parameters(objective)}
    seen = tokens_by_length(recipe, state.tokens)
    flops = sum(training_flops(objective.flops_per_token(length)) * tokens for length, tokens in seen)
    counted = [reference_flops_per_token(recipe, manifest["vocab_size"], length) for length, _ in seen]
    broken = broken_rules(evidence, parameters["encoder"])
    averages = {protocol: found["average"] for protocol, found in glue_averages(evidence).items()}
    return finite({
        "eligible": not broken,
        "not_eligible": broken,
        "board": board_of(parameters["encoder"]),
        "averages": averages,
        "parameters": parameters,
        "vocab_size": manifest["vocab_size"],
        "steps": state.step,
        "tokens": state.tokens,
        "hours": state.seconds / 3600,
        "machines": machines_of(manifest),
        "flops": flops,
        "flops_as_the_reference_counts": None if None in counted else sum(
            (cost or 0) * tokens for cost, (_, tokens) in zip(counted, seen, strict=True)
        ),
        "seed": recipe.seed,
        "objective": recipe.objective.kind,
        "code": manifest.get("code", []),
        "environment": manifest["environment"],
        "hashes": {
            "weights": evidence.weights,
            "data": data_hash(evidence.data),
            "corpus": evidence.data["identity"].get("corpus"),
            "tokenizer": evidence.data["tokenizer"]["fingerprint"],
        },
        "measures": manifest.get("measures", {}),
        "glue": {protocol: _glue(protocol, found, evidence) for protocol, found in evidence.glue.items()},
        "curve": curve_of(evidence.lines),
    })  # fmt: skip


def machines_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the machines that a run was trained on; runs of earlier versions know the last one alone."""
    last = manifest["environment"].get("machine")
    return manifest.get("machines") or ([last] if isinstance(last, str) else [])


def tokens_by_length(recipe: PretrainRecipe, tokens: int) -> list[tuple[int, float]]:
    """Return the row length of each stage that was begun, and the tokens seen in it. A stage lasts to the end of its
    last step, of which up to a batch is counted for the next one here."""
    found, begun = [], 0.0
    for stage in recipe.all_stages:
        end = min(stage.end, tokens)
        if end > begun:
            found.append((stage.rows.length, end - begun))
        begun = max(begun, end)
    return found


def curve_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the held-out lines of a log, of many an even choice with the first and the last."""
    held_out = [line for line in lines if line["split"] == "heldout"]
    count = min(MAX_CURVE, len(held_out))
    chosen = [held_out[number * (len(held_out) - 1) // max(1, count - 1)] for number in range(count)]
    return [{name: value for name, value in line.items() if name not in NO_CURVE} for line in chosen]


def _glue(protocol: str, found: GlueEvidence, evidence: Evidence) -> dict[str, Any]:
    """Return a GLUE run's scores: of each task the median, mean and deviation by metric, and each seed's."""
    tasks = {}
    for task, row in scored_tasks(found).items():
        seeds = {str(trial["seed"]): trial["metrics"] for trial in row["trials"]}
        tasks[task] = {"from_mnli": row["from_mnli"], "summary": row["summary"], "seeds": seeds}
    return {"model": found.manifest["identity"]["model"], **glue_averages(evidence)[protocol], "tasks": tasks}
