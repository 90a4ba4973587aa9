"""Checkpoints: whole or absent, verified by hash when read, safetensors and JSON only.

checkpoints/step-00001000/model.safetensors       the objective's parameters
                          optimizer.safetensors   NAME.exp_avg, NAME.exp_avg_sq, NAME.step
                          state.json              the State
                          manifest.json           hashes of the three, written last
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.errors import UserError
from bertsmith.files import TEMPORARY, atomic_folder, atomic_write, reported, sha256_file
from bertsmith.json_files import write_json
from bertsmith.manifests import read_manifest, write_manifest
from bertsmith.terminal import say
from bertsmith.training.loop import State

MODEL, OPTIMIZER, STATE = FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


class Checkpoint(NamedTuple):
    """A checkpoint as read, on the CPU."""

    path: Path
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    """Empty where it was not asked for."""
    state: State


def save(run: Path, state: State, module: nn.Module, optimizer: torch.optim.Optimizer, keep: int = 0) -> Path:
    """Write a checkpoint of `run` and remove all but the newest `keep` (0: none).

    Raises:
        UserError: the disk is full or the folder cannot be written; earlier checkpoints stay.
    """
    from safetensors.torch import save as to_bytes  # here: the room imports with torch and numpy alone

    path = run / "checkpoints" / f"step-{state.step:08d}"
    if path == newest_path(run):
        return path  # asked to stop at a step that has just been saved
    with atomic_folder(path) as folder, reported(path):
        # Written by us and not by `save_file`, which does not report a full disk as one.
        tensors_of = {MODEL: module.state_dict(), OPTIMIZER: _optimizer_tensors(module, optimizer)}
        for name, tensors in tensors_of.items():
            with atomic_write(folder / name) as file:
                file.write(to_bytes(_contiguous(tensors)))
        write_json(folder / STATE, state.to_dict())
        write_manifest(folder, "checkpoint", {"files": {name: sha256_file(folder / name) for name in FILES}})
    if keep:
        for old in _newest_first(run)[keep:]:
            shutil.rmtree(old, ignore_errors=True)
    return path


def load_newest(run: Path, to_resume: bool = True) -> Checkpoint | None:
    """The newest undamaged checkpoint of `run`, or None where there is none at all. Damaged ones are reported.

    Args:
        to_resume: read the optimizer too, which is twice as large as the model and of no use else.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    found = _newest_first(run)
    for path in found:
        try:
            return read(path, to_resume)
        except UserError as error:
            say(f"{error}; trying the one before it" if path != found[-1] else str(error), error=True)
    if found:
        raise UserError(f"{run}/checkpoints: every checkpoint is damaged; start afresh with --overwrite")
    return None


def read(path: Path, to_resume: bool = True) -> Checkpoint:
    """The checkpoint in folder `path`, as far as it is read verified; see `load_newest`.

    Raises:
        UserError: it is not whole, or a file is not the one that was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = read_manifest(path, "checkpoint")
    for name in FILES if to_resume else (MODEL, STATE):
        try:
            if sha256_file(path / name) == manifest["files"][name]:
                continue
        except OSError:
            pass
        raise UserError(f"{path / name}: damaged (its hash is not the one in manifest.json)")
    try:
        state = State.from_dict(json.loads((path / STATE).read_text(encoding="utf-8")))
        model, optimizer = load_file(path / MODEL), load_file(path / OPTIMIZER) if to_resume else {}
    except (SafetensorError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return Checkpoint(path, model, optimizer, state)


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Copy `checkpoint` into `module` and `optimizer`, wherever they are; returns its state."""
    module.load_state_dict(checkpoint.model)
    for name, parameter in module.named_parameters():
        values = {
            key: checkpoint.optimizer[f"{name}.{key}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
        }
        optimizer.state[parameter] = values
    return checkpoint.state


def remove_newer(run: Path, checkpoint: Checkpoint) -> None:
    """Remove checkpoints after `checkpoint`: they are damaged, and would pass for the newest that are kept."""
    for path in _newest_first(run):
        if path > checkpoint.path:
            shutil.rmtree(path, ignore_errors=True)


def newest_path(run: Path) -> Path | None:
    """Where the newest checkpoint lies, unread."""
    return next(iter(_newest_first(run)), None)


def remove_partial(run: Path) -> None:
    """Remove what a killed writer left."""
    for path in (run / "checkpoints").glob(f"*{TEMPORARY}"):
        shutil.rmtree(path, ignore_errors=True)


def _newest_first(run: Path) -> list[Path]:
    """Those that we have written: a copy that somebody calls otherwise is left alone."""
    found = (run / "checkpoints").glob("step-*")
    return sorted((path for path in found if path.name.removeprefix("step-").isdecimal()), reverse=True)


def _optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
