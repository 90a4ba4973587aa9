"""The arms of the real run: what is trained, for how many steps, and how far each has come in a folder of work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.race_peer import checkpoints_of, finished, step_of
from bertsmith.errors import UserError
from bertsmith.planning.estimate import Estimate, estimate
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.json_files import read_json, read_optional, write_json
from bertsmith.training.metrics import read_metrics

RTD = (
    "objective.kind=rtd", "objective.masking.prob=0.15", "objective.masking.mask_token_prob=0.85",
    "objective.masking.random_token_prob=0",
)  # fmt: skip
"""The masks of the reference."""
BERT_OF_PEER = ("model.embedding_size=256", "model.max_position_embeddings=128", "rows.kind=windows")
"""The classic encoder without a projection of its embeddings, as `transformers.BertForMaskedLM` is."""


class Arm(NamedTuple):
    """A recipe that is trained for the same number of operations as the others."""

    recipe: str
    settings: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()
    """Arguments of `benchmarks.race_peer`, which is then what is trained; recipe and settings count its operations, and
    say its batches and rows."""


ARMS = {
    "fast-small": Arm("fast-small"),
    "electra-small-owt": Arm("electra-small-owt"),
    "fast-small, RTD": Arm("fast-small", RTD),
    "tuned HF": Arm(
        "bert-small-owt", BERT_OF_PEER,
        ("--hidden-size=256", "--layers=12", "--rate=5e-4", "--beta2=0.98", "--warmup=0.1"),
    ),
}  # fmt: skip
"""In the order in which they are trained."""

PLAN_FILE = "plan.json"
EVALUATIONS = 20
"""Of a run, and checkpoints."""
MANY = 10**8
"""Steps of a plan that no stage before the last one fills."""
MAX_DEVIATION = 0.01
"""Of an arm's operations from the budget; its steps are whole ones."""


def make_plan(work: Path, flops: float, arms: Mapping[str, Arm]) -> dict[str, Any]:
    """Write WORK/plan.json: each arm with the steps that come to `flops` operations of training on WORK/data, by the
    count of `bertsmith plan` (matrix products; rows taken as full)."""
    planned = {}
    for name, arm in arms.items():
        found = _at_equal_flops(name, arm, flops, f"data={work / 'data'}")
        stages = [(stage.steps, stage.batch_size * stage.length, stage.flops_per_token) for stage in found.stages]
        planned[name] = arm._asdict() | {
            "steps": found.steps, "tokens": found.tokens, "flops": found.flops, "stages": stages,
            "parameters": found.parameters["total"], "batch_size": found.stages[-1].batch_size,
            "length": found.stages[-1].length,
        }  # fmt: skip
    plan = {"flops": flops, "arms": planned}
    write_json(work / PLAN_FILE, plan)
    return plan


def _at_equal_flops(name: str, arm: Arm, flops: float, data: str) -> Estimate:
    """Estimate an arm at the steps that come nearest to so many operations; stages before the last one are as they are
    in its recipe."""
    try:
        longer = estimate(arm.recipe, [*arm.settings, data, f"plan.steps={MANY}"])
        last = longer.stages[-1]
        step = last.flops_per_token * last.batch_size * last.length
        steps = MANY - round(((longer.flops or 0) - flops) / step)
        found = estimate(arm.recipe, [*arm.settings, data, f"plan.steps={max(1, steps)}"])
    except UserError as error:
        raise SystemExit(f"--flops {flops:g}: {name}: {error}") from None
    if abs((found.flops or 0) / flops - 1) > MAX_DEVIATION:
        raise SystemExit(f"--flops {flops:g}: a step of {name} has {step:.3g}; raise it")
    return found


def so_far(arm: Mapping[str, Any], step: int) -> tuple[int, float]:
    """Return the tokens and the operations of an arm's first steps, rows taken as full."""
    tokens, flops = 0, 0.0
    for steps, tokens_a_step, flops_per_token in arm["stages"]:
        seen = min(step, steps) * tokens_a_step
        tokens, flops, step = tokens + seen, flops + seen * flops_per_token, max(0, step - steps)
    return tokens, flops


def read_plan(work: Path) -> dict[str, Any]:
    if not (work / PLAN_FILE).is_file():
        raise SystemExit(f"{work / PLAN_FILE}: absent; `prepare` or `plan` writes it")
    return read_json(work / PLAN_FILE, dict)


def folder_of(work: Path, name: str) -> Path:
    """Return where an arm is trained, and its model lies in the end."""
    return work / "runs" / "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in name)


def command_of(work: Path, name: str, arm: Mapping[str, Any], device: str) -> list[str]:
    """Return the arguments of `python -m` that train an arm, or go on with it."""
    run, steps = folder_of(work, name), arm["steps"]
    if arm["peer"]:
        given = [f"--steps={steps}", f"--batch-size={arm['batch_size']}", f"--length={arm['length']}"]
        where = [str(work / "data"), str(run), f"--device={device}", "--resume"]
        return ["benchmarks.race_peer", *where, *arm["peer"], *given]
    every = -(-steps // EVALUATIONS)
    settings = [
        f"data={work / 'data'}", *arm["settings"], f"plan.steps={steps}", f"plan.evaluate_steps={every}",
        f"plan.checkpoint_steps={every}", "plan.keep_checkpoints=1", f"machine.device={device}", "log=[]",
    ]  # fmt: skip
    if device == "cpu":
        settings.append("machine.compile=false")
    return ["bertsmith", "pretrain", arm["recipe"], *settings, "--out", str(run)]


class Standing(NamedTuple):
    """How far an arm has come."""

    step: int
    finished: bool
    seconds: float | None = None
    """Of training alone."""
    curve: Sequence[list[float]] = ()
    """Step, tokens and pinned loss at each evaluation; empty where a run predicts no masked tokens."""
    files: Sequence[Path] = ()
    """What goes on from here, or is measured: of a finished arm its model, else all of its newest checkpoint."""


def standing_of(work: Path, name: str, arm: Mapping[str, Any]) -> Standing:
    """Return how far an arm has come, by its newest checkpoint."""
    run = folder_of(work, name)
    return _standing_of_peer(run) if arm["peer"] else _standing_of_run(run)


def _standing_of_run(run: Path) -> Standing:
    manifest, checkpoints = read_optional(run / "manifest.json"), checkpoint_folders(run)
    if not checkpoints:
        return Standing(0, False)
    step, newest = list(checkpoints.items())[-1]
    done = bool(manifest.get("finished"))
    lines = read_metrics(run / "metrics.jsonl")
    curve = [[line["step"], line["tokens"], line["pinned_loss"]] for line in lines if "pinned_loss" in line]
    files = [path for path in sorted(run.iterdir()) if path.is_file() and path.name != ".lock"]
    files += [path for path in sorted(newest.iterdir()) if not (done and path.name == "optimizer.safetensors")]
    return Standing(step, done, read_json(newest / "state.json", dict)["seconds"], curve, files)


def _standing_of_peer(run: Path) -> Standing:
    figures, checkpoints = finished(run), checkpoints_of(run)
    if figures:
        files = [path for path in sorted(run.iterdir()) if path.is_file()]
        return Standing(figures["steps"], True, figures["cpu_seconds"], [row[:3] for row in figures["curve"]], files)
    if not checkpoints:
        return Standing(0, False)
    newest = checkpoints[-1]
    watch = read_json(newest / "watch.json", dict)
    curve, files = [row[:3] for row in watch["curve"]], sorted(newest.iterdir())
    return Standing(step_of(newest), False, watch["seconds"], curve, files)
