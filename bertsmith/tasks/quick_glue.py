"""A quick reading of GLUE: an encoder in, its scores on five tasks after a few epochs on few examples out.

For comparing one's own models in minutes, also in the middle of their pre-training. The scores are not those of
`bertsmith glue`, which trains on everything.
"""

import contextlib
import math
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, get_args

from bertsmith.config.loading import Loaded, load
from bertsmith.console.shell import quote
from bertsmith.console.signals import stop_signals
from bertsmith.console.terminal import say
from bertsmith.errors import Interrupted, UserError
from bertsmith.tasks.finetune import finetune_encoder, load_task
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder, pretrained_encoder
from bertsmith.tasks.published.glue import why_absent
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.text.shards import open_data
from bertsmith.training.machine import MachineSettings
from bertsmith.training.models import PretrainingRun
from bertsmith.training.pretrain import PeriodicProbe
from bertsmith.training.recipe import PretrainRecipe, QuickTask

QUICK_TASKS: tuple[str, ...] = get_args(QuickTask)
QUICK_SETTINGS = (
    "train_examples=5000", "epochs=3", "batch_size=32", "seeds=3", "double_unordered=false", "layerwise_lr_decay=1.0",
    "schedule.learning_rate=3e-4", "schedule.warmup_proportion=0.1", "optimizer.bias_correction=true", "log=[]",
)  # fmt: skip
"""Of every task of the quick reading, laid over its shipped recipe."""


class Reading(NamedTuple):
    """Scores of one task of GLUE, read quickly, by its headline metric."""

    metric: str
    mean: float
    std: float
    """Standard deviation over the seeds."""
    num_seeds: int

    @property
    def standard_error(self) -> float:
        """Of the mean, by the spread of the seeds."""
        return self.std / math.sqrt(self.num_seeds)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file or for other programs."""
        return {"metric": self.metric, "mean": self.mean, "standard_error": self.standard_error}


def quick_glue(
    pretrained: PretrainedEncoder, data: Path, machine: MachineSettings, length: int, tasks: Sequence[str] = QUICK_TASKS
) -> dict[str, Reading]:
    """Fine-tune `pretrained` on each of these tasks that is in the GLUE folder `data`; return the readings by task, and
    of several tasks their mean as "mean".

    Args:
        length: longest row that the model can hold, in tokens.

    Raises:
        UserError: no task is there; a file or the model cannot be used.
        Interrupted: as `finetune`.
    """
    recipes = quick_recipes(data, machine, length, tasks)
    readings: dict[str, Reading] = {}
    for number, (task, loaded) in enumerate(recipes.items(), start=1):
        say(f"quick GLUE, {number} of {len(recipes)}: {task}", error=True)
        with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
            results = finetune_encoder(loaded, pretrained, Path(folder) / task)
        metric, summary = next(iter(results["summary"].items()))
        readings[task] = Reading(metric, summary["mean"], summary["std"], len(results["trials"]))
    if len(readings) > 1:
        each = list(readings.values())
        std = math.sqrt(sum(reading.std**2 for reading in each)) / len(each)
        readings["mean"] = Reading("mean", mean(reading.mean for reading in each), std, each[0].num_seeds)
    return readings


def quick_recipes(data: Path, machine: MachineSettings, length: int, tasks: Sequence[str]) -> dict[str, Loaded]:
    """Return the recipes of those of these tasks that are in the GLUE folder `data`; those that are not are named.
    Raises UserError where none is."""
    absent = {task: why for task in tasks if (why := why_absent(task, data, "train", "dev"))}
    if len(absent) == len(tasks):
        raise UserError(f"{data}: none of {', '.join(tasks)} in it; `bertsmith download glue` makes one")
    for task, why in absent.items():
        say(f"{task}: left out ({why})", error=True)
    own = [f"machine.device={machine.device}", f"machine.dtype={machine.dtype}", f"sequence_length={min(128, length)}"]
    given = ["model=weights", f"data={data}", *own, *QUICK_SETTINGS]
    return {task: load(FinetuneRecipe, "finetune", task, given) for task in tasks if task not in absent}


def glue_probes(recipe: PretrainRecipe) -> list[PeriodicProbe]:
    """Return the probe that reads GLUE quickly every so many steps of a pre-training, where the recipe asks for it.

    Raises:
        UserError: no task is there, or a file of one cannot be used.
    """
    if recipe.glue is None:
        return []
    folder, tokenizer = Path(recipe.glue), open_data(recipe.data, check=False).tokenizer
    tasks = recipe.glue_tasks or QUICK_TASKS
    present = quick_recipes(folder, recipe.machine, recipe.rows.length, tasks)
    for loaded in present.values():
        load_task(loaded.settings)  # a file that cannot be read is named now, and not after hours

    remedy = f"`bertsmith evaluate RUN glue={quote(recipe.glue)}` makes it, of the newest checkpoint"

    def probe(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        weights = {name: tensor.detach().cpu().clone() for name, tensor in objective.state_dict().items()}
        run = PretrainingRun(Path(recipe.data), recipe, {"vocab_size": tokenizer.vocab_size}, weights, 0)
        pretrained = pretrained_encoder(run.networks()[0], tokenizer)
        try:
            with _stopping_at_once():
                found = quick_glue(pretrained, folder, recipe.machine, recipe.rows.length, list(present))
        except Interrupted as error:
            show(f"the quick reading of GLUE was stopped, and is left out; {remedy}")
            signal.raise_signal(error.number)  # which the training now takes, and ends after a checkpoint
            return {}
        except UserError as error:
            show(f"warning: the quick reading of GLUE failed: {error}")
            return {}
        return {name: value for task, reading in found.items() for name, value in _measures(task, reading).items()}

    skipped = f"the quick reading of GLUE that is due is left out, since the run stops; {remedy}"
    return [PeriodicProbe(recipe.glue_steps, probe, skipped)]


def _measures(task: str, reading: Reading) -> dict[str, float]:
    name = f"glue_{task.replace('-', '')}"
    return {name: reading.mean, f"{name}_std": reading.std}


@contextlib.contextmanager
def _stopping_at_once() -> Iterator[None]:
    """Raise Interrupted as soon as one of `stop_signals` comes: a training around this would go on to the end of the
    reading, as it acts on a signal between two steps of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    is_reading = True

    def stop(number: int, frame: object) -> None:
        if is_reading:
            raise Interrupted(number)
        if callable(handler := previous[number]):  # between two of the lines that give the handlers back
            handler(number, frame)

    previous: dict[int, Any] = {number: signal.getsignal(number) for number in stop_signals()}
    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        is_reading = False
        for number, handler in previous.items():
            signal.signal(number, handler)
