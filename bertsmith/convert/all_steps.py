"""Every step of a pre-training run that it has kept → a Hugging Face folder each, the weights that it began with
among them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.console.progress import progress_bar
from bertsmith.console.terminal import say
from bertsmith.convert.export import ExportSettings, note_unexported, write_pretrained
from bertsmith.errors import UserError
from bertsmith.hub.onnx import check_onnx
from bertsmith.storage.files import make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.manifests import folder_type
from bertsmith.training.metrics import read_metrics
from bertsmith.training.models import Model, check_place, open_model
from bertsmith.training.steps import kept_steps, model_at_step

_NO_MEASURES = ("split", "step", "tokens", "seconds", "hidden_cosine")
"""Members of a line of metrics.jsonl that a finished run's manifest does not count among its measures."""


@no_empty_folder
def export_steps(
    run: Path,
    out: Path,
    opset: int | None = None,
    options: ExportSettings = ExportSettings(),  # noqa: B008 - frozen
) -> list[Path]:
    """Write each step of a run whose weights there are to a folder in `out`, as `export_run` would have done then, and
    return these folders: `out`/step-00000000 and so on. A step whose weights cannot be had is left out, with a line.

    Raises:
        UserError: `run` is no pre-training run, or has no checkpoint yet; an average is asked for; `out` holds anything
            else; or as `export_run`.
    """
    if opset is not None:
        check_onnx(opset)
    if not run.exists():
        raise UserError(f"{run}: no such folder")
    if folder_type(run, strict=True) != "pretrain":
        raise UserError(f"--all-steps: {run} is no run of `bertsmith pretrain`, which alone keeps several steps")
    if options.averaged or options.mean_of > 1:
        raise UserError("--all-steps: of each step its own weights; leave averaged and mean_of out")
    newest = open_model(run)
    assert newest.run is not None
    steps = {step: out / f"step-{step:08d}" for step in kept_steps(newest.run)}
    _check_out(out, steps, newest)
    make_folder(out)
    note_unexported(newest)
    measured = {line["step"]: line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "heldout"}
    written = []
    with progress_bar("export", len(steps)) as bar:
        for number, (step, folder) in enumerate(steps.items()):
            bar.update(number, folder.name)
            try:
                model = _with_measures(model_at_step(newest, step), measured.get(step, {}))
            except UserError as error:
                say(f"left out: {error}", error=True)
                continue
            write_pretrained(model, folder, opset, options)
            written.append(folder)
    if not written:
        raise UserError(f"{run}: none of its steps could be read")
    return written


def _check_out(out: Path, steps: dict[int, Path], model: Model) -> None:
    """Raise UserError where the folders cannot be written, or others would stay beside them."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; name a folder to export to")
    if kind := folder_type(out):
        raise UserError(f"{out}: a {kind} folder; name another folder to export to")
    names = {folder.name for folder in steps.values()}
    others = sorted(path.name for path in out.iterdir() if path.name not in names) if out.is_dir() else []
    if others:
        raise UserError(f"{out}: holds {others[0]}, which is no step of this run; name another folder to export to")
    for folder in steps.values():
        check_place(folder, [network.name for network in model.networks])


def _with_measures(model: Model, line: dict[str, Any]) -> Model:
    """Return the model with what was measured at its step, for the card."""
    assert model.run is not None
    measures = {name: value for name, value in line.items() if name not in _NO_MEASURES}
    return replace(model, run=replace(model.run, manifest=model.run.manifest | {"measures": measures}))
