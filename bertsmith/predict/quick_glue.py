"""A quick reading of a model on five tasks of GLUE: few epochs on at most 5,000 examples each, three seeds.

For comparing one's own models in minutes. The scores are not those of `bertsmith glue`, which trains on everything.
"""

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import load
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.published.glue import why_absent
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.training.machine import MachineSettings

QUICK_TASKS = ("cola", "sst-2", "mrpc", "sts-b", "rte")
SETTINGS = (
    "train_examples=5000", "epochs=3", "batch_size=32", "seeds=3", "double_unordered=false", "layerwise_lr_decay=1.0",
    "schedule.learning_rate=3e-4", "schedule.warmup_proportion=0.1", "optimizer.bias_correction=true", "log=[]",
)  # fmt: skip
"""Of every task, laid over its shipped recipe."""


class Reading(NamedTuple):
    """Scores of one task, by its headline metric."""

    metric: str
    mean: float
    standard_error: float
    """Of the mean, by the spread of the seeds."""


def quick_glue(model: Path, data: Path, machine: MachineSettings, length: int) -> dict[str, Reading]:
    """Fine-tune `model` on each of the five tasks that is in the GLUE folder `data`; return the readings by task, and
    of several tasks their mean as "mean".

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
            overrides = [*given, *SETTINGS, f"sequence_length={min(128, length)}"]
            results = finetune(load(FinetuneRecipe, "finetune", task, overrides), Path(folder) / task)
        readings[task] = _reading(results)
    if len(readings) > 1:
        each = list(readings.values())
        error = math.sqrt(sum(reading.standard_error**2 for reading in each)) / len(each)
        readings["mean"] = Reading("mean", sum(reading.mean for reading in each) / len(each), error)
    return readings


def _reading(results: dict[str, Any]) -> Reading:
    metric, summary = next(iter(results["summary"].items()))
    return Reading(metric, summary["mean"], summary["std"] / math.sqrt(len(results["trials"])))
