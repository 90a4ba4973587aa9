"""Checkpoints: the objective's parameters, the optimizer's state (as NAME.exp_avg) and the State, in safetensors and
JSON; written whole or not at all, and verified by hash when read. Ranks to which rows are dealt write a file each, and
any number of ranks reads them."""

import math
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.console.terminal import say
from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import atomic_folder, atomic_write, own_folder, reported, sha256_file, temporary_of
from bertsmith.storage.folders import checkpoint_folders, remove_member, remove_unfinished
from bertsmith.storage.json_files import check_shape, read_json, write_json
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.storage.parts import part_name, parts_of
from bertsmith.training.loop import MAX_SKIPPED_IN_A_ROW, State
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.stored_tensors import StoredTensors, check_hash

CHECKPOINT = FOLDER_TYPES["checkpoint"]
MODEL_FILE, OPTIMIZER_FILE, STATE_FILE = CHECKPOINT_FILES = CHECKPOINT.files

MAX_STATE_BYTES = 1 << 20
"""Of a state.json, which has a few numbers."""

_STATE = {
    "step": int, "tokens": int, "seconds": float, "position": [int], "skipped": int, "skipped_in_a_row": int
}  # fmt: skip

Check = Callable[["Checkpoint"], None]
"""Raises UserError where a checkpoint is not of the run that it lies in."""


class Checkpoint(NamedTuple):
    """The contents of a checkpoint."""

    path: Path
    model: StoredTensors
    optimizer: StoredTensors
    """Empty where it was not asked for."""
    state: State


def save(
    run: Path, state: State, module: nn.Module, optimizer: torch.optim.Optimizer, keep: int = 0, dealt: Ranks = ALONE
) -> Path:
    """Write a checkpoint of `run` and remove all but the newest `keep`; 0 removes none. Ranks to which the rows of
    `module` are `dealt` call this together, and each writes its own.

    Raises:
        UserError: the disk is full or the folder cannot be written; earlier checkpoints stay.
    """
    path = run / "checkpoints" / f"step-{state.step:08d}"
    is_there = dealt.is_first and state.step == max(checkpoint_folders(run), default=-1)
    if dealt.any(is_there):
        return path  # asked to stop at a step that has just been saved
    with _folder_of_all(path, dealt) as folder, reported(path):
        state_tensors = _optimizer_tensors(module, optimizer)
        if differing := sorted(state_tensors.keys() ^ getattr(optimizer, "state_names", state_tensors.keys())):
            raise UserError(
                f"optimizer: its state and its initial_state, which names all tensors, differ: {differing[0]}"
            )
        tensors_of = {MODEL_FILE: module.state_dict(), OPTIMIZER_FILE: state_tensors}
        hashes = _hashes_of_all([_write(folder, name, tensors_of[name], dealt) for name in tensors_of], dealt)
        if dealt.is_first:
            write_json(folder / STATE_FILE, asdict(state))
            files = hashes | {STATE_FILE: sha256_file(folder / STATE_FILE)}
            write_manifest(folder, CHECKPOINT.name, {"files": files})
    if keep and dealt.is_first:
        for old in list(checkpoint_folders(run).values())[:-keep]:
            remove_member(old, CHECKPOINT)
    return path


@contextmanager
def _folder_of_all(path: Path, dealt: Ranks) -> Iterator[Path]:
    """Give a fresh folder that takes the name `path` at the end: the first rank's, for all to write in."""
    if dealt.is_first:
        own_folder(path.parent)
        with atomic_folder(path) as folder:
            dealt.wait_for_all()
            yield folder
        return
    dealt.wait_for_all()
    yield temporary_of(path)


def _write(folder: Path, name: str, tensors: Mapping[str, Tensor], dealt: Ranks) -> str:
    """Write the tensors of this rank to the file `name`, or to its part of it; return the hash. What has no rows is in
    the first part alone."""
    from safetensors.torch import save as to_bytes  # here: the room imports with torch and numpy alone

    own = {key: tensor.detach().contiguous().cpu() for key, tensor in tensors.items() if tensor.ndim or dealt.is_first}
    path = folder / part_name(name, dealt.rank + 1, dealt.size)
    with atomic_write(path) as file:
        file.write(to_bytes(own))  # not by `save_file`, which does not report a full disk as one
    return sha256_file(path)


def _hashes_of_all(own: list[str], dealt: Ranks) -> dict[str, str]:
    """Return file → hash for the weights' and the optimizer's files of all ranks, of which this one has its `own`."""
    words = [float(word) for each in own for word in memoryview(bytes.fromhex(each)).cast("I")]
    hashes = {}
    for rank, numbers in enumerate(dealt.of_each(words)):
        half = len(numbers) // 2
        for name, part in ((MODEL_FILE, numbers[:half]), (OPTIMIZER_FILE, numbers[half:])):
            hashes[part_name(name, rank + 1, dealt.size)] = array("I", map(int, part)).tobytes().hex()
    return hashes


def load_newest(run: Path, to_resume: bool = True, check: Check = lambda checkpoint: None) -> Checkpoint | None:
    """Load the newest undamaged checkpoint of `run`; None where there is no checkpoint. Damaged ones are reported.

    Args:
        to_resume: read the optimizer too, which is twice as large as the model and of no use else.
        check: a further check, which raises UserError for a damaged checkpoint.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    found = list(checkpoint_folders(run).values())[::-1]
    for path in found:
        try:
            checkpoint = read(path, to_resume)
            check(checkpoint)
            return checkpoint
        except UserError as error:
            say(f"{error}; trying the one before it" if path != found[-1] else str(error), error=True)
    if found:
        raise UserError(f"{run}/checkpoints: every checkpoint is damaged; start afresh with --overwrite")
    return None


def read(path: Path, to_resume: bool = True, verify: bool = True) -> Checkpoint:
    """Open the checkpoint in folder `path`, and verify its files; see `load_newest`. Without `verify` a file of tensors
    is verified when the first is read from it.

    Raises:
        UserError: it is not whole, or a file is not the one that was written.
    """
    hashes = read_manifest(path, CHECKPOINT.name)["files"]
    names = (MODEL_FILE, OPTIMIZER_FILE) if to_resume else (MODEL_FILE,)
    files = {name: parts_of(name, hashes) or [name] for name in names}
    for name in (*(part for parts in files.values() for part in parts if verify), STATE_FILE):
        check_hash(path / name, hashes.get(name))
    state = read_state(path / STATE_FILE)
    if f"step-{state.step:08d}" != path.name:
        raise UserError(f"{path / STATE_FILE}: damaged (it is of step {state.step})")
    model, optimizer = (
        StoredTensors({path / part: hashes.get(part, "") for part in files.get(name, ())}, verify)
        for name in (MODEL_FILE, OPTIMIZER_FILE)
    )
    return Checkpoint(path, model, optimizer, state)


def read_state(path: Path) -> State:
    """Return the state in a checkpoint's state.json. Raises UserError where it is none that a run can be in."""
    values = read_json(path, dict, MAX_STATE_BYTES)
    check_shape(values, _STATE, str(path))
    if strangers := sorted(values.keys() - _STATE.keys()):
        raise UserError(f"{path}: damaged (it has {quoted(strangers[0], 60)}, which no state has)")
    state = State(**values | {"position": tuple(values["position"])})
    numbers = (state.step, state.tokens, state.seconds, state.skipped, state.skipped_in_a_row, *state.position)
    if min(numbers) < 0 or max(numbers) >= 1 << 62 or not math.isfinite(state.seconds):
        raise UserError(f"{path}: damaged (a number is negative or too large)")
    if not state.skipped_in_a_row <= state.skipped <= state.step or state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise UserError(f"{path}: damaged ({state.skipped} of {state.step} steps were skipped)")
    return state


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: object) -> None:
    """Hold tensors to those that a module has, before any is copied.

    Raises:
        UserError: one is missing, is of no use, or is of another shape or format; it is named.
    """
    missing, strange = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or strange:
        what = f"has no {missing[0]}" if missing else f"has {quoted(strange[0], 100)}, which this model lacks"
        raise UserError(f"{where}: damaged (it {what})")
    for name, tensor in found.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise UserError(
                f"{where}: damaged ({name} is {_described(tensor)} where the model has {_described(wanted)})"
            )


def check_module(
    checkpoint: Checkpoint, module: nn.Module, optimizer: Mapping[str, Tensor], dealt: Ranks = ALONE
) -> None:
    """Raises UserError where a tensor of the model or of its optimizer is missing, or not as `module` and its optimizer
    (NAME.exp_avg → tensor) have it, whose rows are `dealt` to ranks: a fused one trusts their sizes, and would write
    past a short one's end."""
    check_tensors(checkpoint.model.shapes_of(dealt), module.state_dict(), checkpoint.path / MODEL_FILE)
    kept, expected = (sorted({name.rpartition(".")[2] for name in part}) for part in (checkpoint.optimizer, optimizer))
    if kept != expected:
        held = quoted(", ".join(kept), 100) if kept else "nothing"
        raise UserError(
            f"{checkpoint.path / OPTIMIZER_FILE}: damaged (it holds {held} of the weights, and the recipe's optimizer "
            f"keeps {', '.join(expected)}: another optimizer wrote it)"
        )
    check_tensors(checkpoint.optimizer.shapes_of(dealt), optimizer, checkpoint.path / OPTIMIZER_FILE)


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer, dealt: Ranks = ALONE) -> State:
    """Copy `checkpoint` into `module` and `optimizer`, which is in its initial state, wherever they are; returns its
    state. Where their rows are `dealt` to ranks, only this rank's are read.

    Raises:
        UserError: as `check_module`, or a file is not the one that was written; nothing is copied.
    """
    check_module(checkpoint, module, _optimizer_tensors(module, optimizer), dealt)
    tensors = checkpoint.optimizer.read_all(dealt)
    module.load_state_dict(checkpoint.model.read_all(dealt))
    for name, parameter in module.named_parameters():
        state = optimizer.state[parameter]
        state |= {key: tensors[f"{name}.{key}"].to(tensor.device) for key, tensor in state.items()}
    return checkpoint.state


def remove_newer(run: Path, checkpoint: Checkpoint) -> None:
    """Remove checkpoints after `checkpoint`: they are damaged, and would pass for the newest that are kept.

    Raises:
        UserError: somebody else's file is in one of them, which stays.
    """
    for step, path in checkpoint_folders(run).items():
        if step > checkpoint.state.step:
            remove_member(path, CHECKPOINT)
            if path.exists():
                raise UserError(f"{path}: holds {os.listdir(path)[0]}, which we did not write; move it elsewhere")


def remove_partial(run: Path) -> None:
    """Remove unfinished checkpoints of a killed process."""
    remove_unfinished(run / "checkpoints", "step-", 8)


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }
