"""A quick reading of GLUE: an encoder in, its scores on five tasks after a few epochs on few examples out.

For comparing one's own models in minutes, also in the middle of their pre-training. The scores are not those of
`bertsmith glue`, which trains on everything.
"""

import math
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, get_args

from bertsmith.config.loading import Loaded, load
from bertsmith.console.shell import quote
from bertsmith.console.signals import raising_when_stopped
from bertsmith.console.terminal import say
from bertsmith.errors import Interrupted, UserError
from bertsmith.storage.files import remove_tree
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder, pretrained_encoder
from bertsmith.tasks.published.glue import why_absent
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.trials.contexts import Contexts
from bertsmith.tasks.trials.run import FinetuneRun
from bertsmith.tasks.trials.schedule import run_trials
from bertsmith.text.shards import open_data
from bertsmith.training.machine import MachineSettings
from bertsmith.training.models import PretrainingRun
from bertsmith.training.ranks import ALONE, Ranks
from bertsmith.training.recipe import PretrainRecipe, QuickTask
from bertsmith.training.train_logger import PeriodicProbe

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
    model: PretrainedEncoder | Path,
    data: Path,
    machine: MachineSettings,
    length: int,
    tasks: Sequence[str] = QUICK_TASKS,
    *,
    jobs: int | None = 1,
) -> dict[str, Reading]:
    """Fine-tune `model` on each of these tasks that is in the GLUE folder `data`; return the readings by task, and of
    several tasks their mean as "mean".

    Args:
        length: longest row that the model can hold, in tokens.
        jobs: trials at a time, as of `FinetuneRecipe`; of an encoder that lies in no folder 1.

    Raises:
        UserError: no task is there; a file or the model cannot be used.
        Interrupted: as `finetune`.
    """
    found: dict[str, Reading] = {}
    contexts, path = (Contexts(), str(model)) if isinstance(model, Path) else (Contexts(model), "weights")

    def read(run: FinetuneRun) -> None:
        metric, summary = next(iter(run.results["summary"].items()))
        found[run.plan.source.name] = Reading(metric, summary["mean"], summary["std"], len(run.results["trials"]))
        remove_tree(run.out)  # fifteen models are not kept
        say(f"quick GLUE, {len(found)} of {len(recipes)}: {run.plan.source.name}", error=True)

    recipes = quick_recipes(data, machine, length, tasks)
    plans = {
        task: contexts.plan(replace(loaded.settings, model=path, jobs=jobs), task) for task, loaded in recipes.items()
    }
    with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
        run_trials([FinetuneRun(plan, Path(folder) / task) for task, plan in plans.items()], contexts, read)
    return _with_mean({task: found[task] for task in recipes})


def _with_mean(readings: dict[str, Reading]) -> dict[str, Reading]:
    """Return readings by task, and of several tasks their mean as "mean"."""
    if len(readings) < 2:
        return readings
    each = list(readings.values())
    std = math.sqrt(sum(reading.std**2 for reading in each)) / len(each)
    return readings | {"mean": Reading("mean", mean(reading.mean for reading in each), std, each[0].num_seeds)}


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


def glue_probes(recipe: PretrainRecipe, ranks: Ranks = ALONE) -> list[PeriodicProbe]:
    """Return the probe that reads GLUE quickly every so many steps of a pre-training, where the recipe asks for it; the
    ranks deal the tasks among themselves.

    Raises:
        UserError: no task is there, or a file of one cannot be used.
    """
    if recipe.glue is None:
        return []
    folder, tokenizer = Path(recipe.glue), open_data(recipe.data, check=False).tokenizer
    tasks = recipe.glue_tasks or QUICK_TASKS
    present = quick_recipes(folder, recipe.machine, recipe.rows.length, tasks)
    ranks.check_same({"glue": list(present)})
    for loaded in present.values():
        load_task(loaded.settings)  # a file that cannot be read is named now, and not after hours

    remedy = f"`bertsmith evaluate RUN glue={quote(recipe.glue)}` makes it, of the newest checkpoint"

    def probe(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        weights = {name: tensor.detach().cpu().clone() for name, tensor in objective.state_dict().items()}
        run = PretrainingRun(Path(recipe.data), recipe, {"vocab_size": tokenizer.vocab_size}, weights, 0)
        pretrained = pretrained_encoder(run.networks()[0], tokenizer)
        own, asked_to_stop, failed = list(present)[ranks.deal], 0, False
        found: dict[str, Reading] = {}
        try:
            with raising_when_stopped():  # the training around it would act between two of its own steps
                found = quick_glue(pretrained, folder, recipe.machine, recipe.rows.length, own) if own else {}
        except Interrupted as error:
            asked_to_stop = error.number
        except UserError as error:
            failed = True
            show(f"warning: the quick reading of GLUE failed: {error}")
        stopped, failed = ranks.any(asked_to_stop > 0), ranks.any(failed)
        if failed and found.keys() >= set(own):
            show(f"warning: the quick reading of GLUE failed on another rank, and is left out; {remedy}")
        if stopped:
            show(f"the quick reading of GLUE was stopped, and is left out; {remedy}")
        if asked_to_stop:
            signal.raise_signal(asked_to_stop)  # which the training now takes, and ends after a checkpoint
        if stopped or failed:
            return {}
        readings = _of_all_ranks(found, list(present), ranks)
        return {name: value for task, reading in readings.items() for name, value in _measures(task, reading).items()}

    skipped = f"the quick reading of GLUE that is due is left out, since the run stops; {remedy}"
    return [PeriodicProbe(recipe.glue_steps, probe, skipped)]


def _of_all_ranks(found: dict[str, Reading], tasks: list[str], ranks: Ranks) -> dict[str, Reading]:
    """Return the readings of these tasks, each of which one rank has found, and their mean."""
    if ranks.size == 1:
        return found
    nothing = Reading("", 0.0, 0.0, 0)
    numbers = [ranks.add_up([float(number or 0) for number in found.get(task, nothing)[1:]]) for task in tasks]
    return _with_mean(
        {task: Reading("", score, std, int(seeds)) for task, (score, std, seeds) in zip(tasks, numbers, strict=True)}
    )


def _measures(task: str, reading: Reading) -> dict[str, float]:
    name = f"glue_{task.replace('-', '')}"
    return {name: reading.mean, f"{name}_std": reading.std}
