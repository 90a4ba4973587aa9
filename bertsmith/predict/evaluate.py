"""`bertsmith evaluate`: a model in, its held-out measures, its BLiMP accuracies and a quick reading of GLUE out."""

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import load
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.evals.blimp import BlimpScores, blimp_of
from bertsmith.evals.held_out import HeldOut, held_out
from bertsmith.evals.likelihood import scoring_head
from bertsmith.storage.json_files import finite
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.published.glue import why_absent
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model

QUICK_TASKS = ("cola", "sst-2", "mrpc", "sts-b", "rte")
QUICK_SETTINGS = (
    "train_examples=5000", "epochs=3", "batch_size=32", "seeds=3", "double_unordered=false", "layerwise_lr_decay=1.0",
    "schedule.learning_rate=3e-4", "schedule.warmup_proportion=0.1", "optimizer.bias_correction=true", "log=[]",
)  # fmt: skip
"""Of every task of the quick reading, laid over its shipped recipe."""


class Reading(NamedTuple):
    """Scores of one task of GLUE, read quickly, by its headline metric."""

    metric: str
    mean: float
    standard_error: float
    """Of the mean, by the spread of the seeds."""


def quick_glue(model: Path, data: Path, machine: MachineSettings, length: int) -> dict[str, Reading]:
    """Fine-tune `model` on each of the five tasks that is in the GLUE folder `data`; return the readings by task, and
    of several tasks their mean as "mean". For comparing one's own models in minutes: few epochs on at most 5,000
    examples each, three seeds. The scores are not those of `bertsmith glue`, which trains on everything.

    Args:
        length: longest row that the model can hold, in tokens.

    Raises:
        UserError: no task is there; a file or the model cannot be used.
    """
    absent = {task: why for task in QUICK_TASKS if (why := why_absent(task, data, "train", "dev"))}
    if len(absent) == len(QUICK_TASKS):
        raise UserError(f"{data}: none of {', '.join(QUICK_TASKS)} in it; `bertsmith download glue` makes one")
    readings: dict[str, Reading] = {}
    given = [f"model={model}", f"data={data}", f"machine.device={machine.device}", f"machine.dtype={machine.dtype}"]
    for task in QUICK_TASKS:
        if task in absent:
            say(f"{task}: left out ({absent[task]})", error=True)
            continue
        with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
            overrides = [*given, *QUICK_SETTINGS, f"sequence_length={min(128, length)}"]
            results = finetune(load(FinetuneRecipe, "finetune", task, overrides), Path(folder) / task)
        metric, summary = next(iter(results["summary"].items()))
        readings[task] = Reading(metric, summary["mean"], summary["std"] / math.sqrt(len(results["trials"])))
    if len(readings) > 1:
        each = list(readings.values())
        error = math.sqrt(sum(reading.standard_error**2 for reading in each)) / len(each)
        readings["mean"] = Reading("mean", sum(reading.mean for reading in each) / len(each), error)
    return readings


@settings
class EvaluateSettings:
    """Settings of `evaluate`."""

    data: str | None = setting(
        None, "data folder whose held-out text is measured; without it, blimp and glue, the run's own"
    )
    evaluate_rows: int | None = setting(None, "held-out rows; left out: as many as in pre-training", ge=1)
    blimp: str | None = setting(None, "folder of BLiMP's 67 files")
    pairs: int = setting(200, "of each paradigm of BLiMP; 1000 for all", ge=1)
    glue: str | None = setting(
        None, "GLUE folder: fine-tune on at most 5,000 examples of CoLA, SST-2, MRPC, STS-B, RTE, three seeds each"
    )
    machine: MachineSettings = setting(
        MachineSettings(compile=False),
        "on what; compiling takes longer than most evaluations; BLiMP is in float32 whatever the dtype",
    )


class Evaluation(NamedTuple):
    """Measures of a model; None where they were not asked for."""

    heldout: dict[str, float] | None
    blimp: BlimpScores | None
    how: HeldOut | None = None
    """How the held-out measures were taken."""
    glue: dict[str, Reading] | None = None
    """By task, and of all as "mean"."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs; a measure that is not finite is null."""
        content: dict[str, Any] = {}
        if self.heldout is not None:
            content["heldout"] = finite(self.heldout)
        if self.how is not None:
            content["measured"] = {"heldout_rows": self.how.rows, **self.how.measuring.to_json()}
        if self.blimp is not None:
            content["blimp"] = self.blimp.to_json()
        if self.glue is not None:
            content["glue"] = {task: finite(reading._asdict()) for task, reading in self.glue.items()}
        return content


def evaluate_model(model: Model, asked: EvaluateSettings) -> Evaluation:
    """Measure a pre-trained model.

    Raises:
        UserError: as `held_out`, `read_blimp` and `quick_glue`; the model has no head to be asked with.
    """
    measures = how = blimp = glue = None
    if asked.data is not None or (asked.blimp is None and asked.glue is None):
        how = held_out(model, asked.data, asked.evaluate_rows, asked.machine)
        measures = how.measures
    if asked.blimp is not None:
        machine = choose_machine(asked.machine, model.tokenizer.pad_id)
        scoring_head(model)
        network = model.network.build()
        machine.prepare_model(network)
        blimp = blimp_of(network, Path(asked.blimp), asked.pairs, model.tokenizer, machine)
    if asked.glue is not None:
        glue = quick_glue(model.path, Path(asked.glue), asked.machine, model.length)
    return Evaluation(measures, blimp, how, glue)
