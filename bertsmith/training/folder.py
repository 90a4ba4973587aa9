"""A pre-training run's folder: made for a recipe, recognised again, and closed when the plan is done."""

import json
import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith import __version__
from bertsmith.config.loading import defaults, identity, to_dict, to_toml
from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import num_parameters
from bertsmith.errors import UserError
from bertsmith.storage.code_version import UNKNOWN_CODE, code_version
from bertsmith.storage.files import own_folder, write_text
from bertsmith.storage.folders import open_run_folder
from bertsmith.storage.json_files import finite
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.training import checkpoints
from bertsmith.training.checkpoints import Checkpoint
from bertsmith.training.epochs import describe_mix
from bertsmith.training.loop import State
from bertsmith.training.machine import Machine
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.schedules import Plan
from bertsmith.training.staged_rows import StagedRows

INITIAL = "initial"
"""The key of a run's manifest under which `note_initial` keeps it."""


def open_run(
    run: Path, rows: StagedRows, machine: Machine, inputs: dict[str, str], overwrite: bool = False
) -> dict[str, Any]:
    """Check that `run` is the folder of this recipe, this data and these other inputs (name → fingerprint), or make it
    so; returns what its manifest said before, {} where there was none.

    Raises:
        UserError: as `open_run_folder`. A plan that is not done may be lengthened.
    """
    # Of `init` and `branch` the identity has fingerprints.
    recipe, data = rows.recipe, rows.data
    own_identity = json.loads(json.dumps(identity(recipe) | rows.identity | inputs))
    known = {name: value for name, value in defaults(recipe).items() if name not in ("init", "branch")}
    before = open_run_folder(
        run, FOLDER_TYPES["pretrain"], own_identity, known, overwrite, partial(_only_lengthens, recipe)
    )
    is_done = before.get("finished", False) and before["identity"] == own_identity
    code = {} if is_done else code_version()._asdict()
    machines_before, code_before = _earlier_parts(before)
    described = {
        "identity": own_identity,
        "recipe": to_dict(recipe),
        "data": {
            "path": data.address,
            "hash": data.hash,
            "documents": data.num_documents("train"),
            "tokens": {split: data.num_tokens(split) for split in ("train", "heldout")},
        },
        "vocab_size": data.tokenizer.vocab_size,
        "tokenizer": data.tokenizer.fingerprint,
        "environment": {
            "bertsmith": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": _name(machine.device),
        },
        "threads": _with(before.get("threads", []), torch.get_num_threads()),
        "ranks": _with(before.get("ranks", [1] if before else []), machine.ranks.size),
        "machines": _with(machines_before, "" if is_done else _name(machine.device)),
        "code": _with(code_before, code),
    }
    write_manifest(run, "pretrain", {"finished": False, **before, **described})
    # After the manifest: killed between them, the folder is still recognised as a run.
    write_text(run / "recipe.toml", to_toml(recipe))
    data.tokenizer.save(run)
    own_folder(run / "checkpoints")
    return before


def newest_checkpoint(
    run: Path, module: nn.Module, optimizer_state_shapes: Mapping[str, Tensor], check_state: Callable[[State], None]
) -> Checkpoint | None:
    """Return the checkpoint to go on from, None where there is none yet: the newest that is whole, fits `module`, and
    whose state is one of this run. Newer ones are removed.

    Args:
        run: a folder that `open_run` has opened.
        module: what the run trains.
        optimizer_state_shapes: of its optimizer, as NAME.exp_avg → tensor (`OptimizerSettings.state_shapes`).
        check_state: raises UserError for a state that this run cannot have been in.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """

    def check(found: Checkpoint) -> None:
        checkpoints.check_module(found, module, optimizer_state_shapes)
        try:
            check_state(found.state)
        except UserError as error:
            raise UserError(f"{found.path / checkpoints.STATE_FILE}: damaged ({error})") from None

    checkpoints.remove_partial(run)
    found = checkpoints.load_newest(run, check=check)
    if found is not None:
        checkpoints.remove_newer(run, found)
    return found


def note_start(rows: StagedRows, objective: nn.Module, machine: Machine) -> None:
    """Show what is about to be trained, on how much text, of which corpora, where and for how long."""
    data, plan = rows.data, rows.recipe.plan
    size, tokens = format_count(num_parameters(objective)), format_count(data.num_tokens("train"))
    where = f"{_name(machine.device)}, {str(machine.dtype).removeprefix('torch.')}"
    where += f", {machine.ranks.size} ranks" if machine.ranks.size > 1 else ""
    until = f"{getattr(plan, plan.unit):,} {plan.unit}"
    say(f"{size} parameters, {tokens} training tokens; {where}; {until}", error=True)
    if rows.shares:
        say(describe_mix(rows.shares, rows.epochs), error=True)


def note_threads(before: dict[str, Any], machine: Machine) -> None:
    """Say where a run goes on with another number of ranks or threads than it had: sums are then added in another
    order, and the end is not the same bits."""
    ranks, size = before.get("ranks", [1]), machine.ranks.size
    if ranks != [size]:
        say(f"this run had {', '.join(map(str, ranks))} ranks so far and has {size} now: rows and masks stay the same, "
            f"losses to rounding, and dropout draws others", error=True)  # fmt: skip
    threads, now = before.get("threads", []), torch.get_num_threads()
    if machine.device.type == "cpu" and threads and threads != [now]:
        had = ", ".join(map(str, threads))
        say(f"this run had {had} threads so far and has {now} now, so its end will not be the same bits as without the "
            f"stop; OMP_NUM_THREADS={threads[0]} gives it as many as it began with", error=True)  # fmt: skip


def note_events(run: Path, names: list[str]) -> None:
    """Add TensorBoard's files of this process to those that the manifest lists as ours."""
    if names:
        _add(run, {"events": [*read_manifest(run, "pretrain").get("events", []), *names]})


def note_initial(run: Path, fingerprint: str) -> None:
    """Keep the hash of the weights that the run begins with in the manifest: none of its checkpoints has them."""
    _add(run, {INITIAL: fingerprint})


def note_pooling(run: Path, pooling: dict[str, Any] | None) -> None:
    """Keep the settings of sentence-transformers' modules for an export in the manifest, if there are any."""
    if pooling is not None:
        from bertsmith.hub.sentence import KEPT  # here: most runs have none

        _add(run, {KEPT: pooling})


def finish_run(run: Path, state: State, measures: dict[str, float]) -> dict[str, Any]:
    """Note in the manifest that the plan is done and what was measured last; returns that."""
    summary = {
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "skipped_steps": state.skipped,
        "measures": finite(measures) or read_manifest(run, "pretrain").get("measures", {}),
    }
    _add(run, summary | {"finished": True})
    skipped = f", {state.skipped} steps skipped" if state.skipped else ""
    done = f"{state.step:,} steps, {format_count(state.tokens)} tokens, {format_seconds(state.seconds)}"
    say(f"{done}{skipped}", error=True)
    return summary


def _earlier_parts(before: dict[str, Any]) -> tuple[list[str], list[dict[str, str | None]]]:
    """Return the machines and the code that a run has had so far. A manifest of an earlier version knows the last
    machine alone, and no code."""
    if not before:
        return [], []
    last = str(before["environment"].get("machine", "an unknown machine"))
    return before.get("machines", [last]), before.get("code", [UNKNOWN_CODE._asdict()])


def _with(entries: list[Any], entry: Any) -> list[Any]:
    """Return the entries, with this one if it is new and not empty: what a run has had in all its parts."""
    return entries if entry in entries or not entry else [*entries, entry]


def _add(run: Path, content: dict[str, Any]) -> None:
    write_manifest(run, "pretrain", read_manifest(run, "pretrain") | content)


def _only_lengthens(recipe: PretrainRecipe, manifest: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether a run differs only in a plan of the same unit that now ends later. Once a plan is done whose
    learning rate falls to zero, a longer one would be another run."""
    if manifest.get("finished") and recipe.schedule.falls:
        return False
    before = json.loads(json.dumps(manifest["identity"]))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    units = {f"plan.{unit}" for unit in Plan.exclusive}
    return changed <= units and all((after.get(key) or 0) > (before.get(key) or float("inf")) for key in changed)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
