"""The settings of `bertsmith finetune`."""

import difflib
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.registry import BY_PLUGIN
from bertsmith.errors import quoted
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.early_stopping import EarlyStoppingSettings
from bertsmith.tasks.registry import TASKS, custom_spec
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.training.machine import MachineSettings
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import OptimizerSettings
from bertsmith.training.optimizers.registry import OPTIMIZERS
from bertsmith.training.schedules import SCHEDULES, PolynomialSettings, ScheduleSettings
from bertsmith.training.trackers.registry import TRACKERS

CUSTOM = "custom"
"""The task of the user's own files."""

SEVERAL = "several"
"""The task of a run of several tasks."""


@settings
class SeveralSettings:
    """The tasks of a run of several; every other setting but `custom.…` is for all of them."""

    tasks: tuple[str, ...] = setting((), "names of two tasks at least")
    power: float = setting(
        0.75,
        "a task's share of the batches goes with its number of training rows to this power: 1 by size, 0 all alike; "
        "between them small tasks get a share that counts, and are not repeated dozens of times",
        ge=0,
        le=1,
    )
    folders: dict[str, str] = setting({}, "task → its folder, of tasks that are not in `data`", identity=False)

    def check(self, known: Collection[str]) -> None:
        """Raise ValueError where these tasks, of those `known`, are no run of several."""
        given = ", ".join(self.tasks) or "none"
        if len(self.tasks) < 2:
            raise ValueError(f"several.tasks: {given}; name two at least, as in \"several.tasks=['rte','mrpc']\"")
        for task in self.tasks:
            if task == SEVERAL or task not in known:
                there = ", ".join(name for name in known if name != SEVERAL)
                raise ValueError(f"several.tasks: {quoted(task, 60)} is not one of {there}")
            if self.tasks.count(task) > 1:
                raise ValueError(f"several.tasks: {task} is there {self.tasks.count(task)} times; name it once")
        for task in self.folders:
            if task not in self.tasks:
                raise ValueError(f"several.folders.{task}: several.tasks has no such task, but {given}")


def module_name_of(task: str) -> str:
    """Return a task's name among the weights: "heads.HEAD.…"; torch has no points in a module's name."""
    return task.replace(".", "_")


@settings
class FinetuneRecipe:
    """The settings of fine-tuning on a labelled task; the defaults are the reference's for its small and base sizes.

    Source: google-research/electra, configure_finetuning.py.
    """

    task: str = setting(description=f"{', '.join(TASKS)}; custom for your own files, several for several of these")
    model: str = setting(
        description="where to start: a pre-training run, or a Hugging Face folder of a BERT, RoBERTa, ModernBERT, …",
        identity=False,
    )
    data: str = setting(
        description="the GLUE folder, with a folder a task; of chunk the folder of its train.txt and test.txt; of "
        "questions and of a custom task that of its train and dev files",
        identity=False,
    )
    seeds: int = setting(3, "trials, with the seeds 0, 1, …; more are added to those there", ge=1, identity=False)
    epochs: float = setting(3, "times that every training example is seen", gt=0)
    train_examples: int | None = setting(
        None,
        "at most so many training examples, drawn once for all seeds; left out: all",
        ge=1,
        only=("texts", "words"),
    )
    batch_size: int = setting(32, "examples a step; of questions windows", ge=1)
    similar_lengths: bool = setting(
        False,
        "batches of rows of similar length: less padding, so faster, on a GPU above all; F1 of chunking was 0.2 lower",
    )
    sequence_length: int = setting(
        128,
        "longest row in tokens, [CLS] and [SEP] included; longer texts are cut, questions' contexts read in windows",
        ge=5,
    )
    double_unordered: bool = setting(
        True, "where a pair has no order (MRPC, STS-B), train on both orders", only=("texts",)
    )
    layerwise_lr_decay: float = setting(
        0.8, "factor on the learning rate from each layer to the one below it; 1 for none", gt=0, le=1
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none",
        "balanced: in the loss examples count for more, the rarer their class, N / (classes × examples of the class); "
        "of multi-label those with a label, as often as there are examples without it. custom.weights gives others",
    )
    classifier_pooling: Literal["cls", "mean"] | None = setting(
        None,
        "of texts, for a modern encoder: read classes from the vector of [CLS], or the mean of the row; left out: as "
        "the model says (its classifier_pooling)",
        only=("texts",),
    )
    random_weights: bool = setting(
        False, "take only the model's shape and tokenizer and start from random weights, a baseline"
    )
    compat: bool = setting(
        False, "do as the reference also where that is odd; docs/departures.md lists where. Its head cannot be exported"
    )
    check_counts: bool = setting(
        True,
        "refuse files whose number of examples is not the published one",
        only=("tasks with published counts",),
    )
    skip_malformed: bool = setting(False, "leave malformed lines of a file out, and count them, instead of stopping")
    custom: CustomSettings = setting(CustomSettings(), "the columns of a custom task", only=("a custom task",))
    answering: AnsweringSettings = setting(
        AnsweringSettings(), "how answers to questions are found", only=("questions",)
    )
    several: SeveralSettings = setting(SeveralSettings(), "the tasks of a run of several", only=("several tasks",))
    early_stopping: EarlyStoppingSettings = setting(EarlyStoppingSettings(), "whether to stop early, and when")
    schedule: Annotated[ScheduleSettings, SCHEDULES] = setting(
        PolynomialSettings(learning_rate=1e-4, warmup_proportion=0.1), "the learning rate"
    )
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS] = setting(AdamWSettings(), "how weights move")
    machine: MachineSettings = setting(MachineSettings(), "on what", identity=False)
    jobs: int | None = setting(
        None,
        "trials at a time, each in a process of its own: on the GPUs in turn, on the CPU with cores / jobs threads "
        "each; left out: one on each GPU, on the CPU one",
        ge=1,
        identity=False,
    )
    log: tuple[Annotated[str, TRACKERS], ...] = setting(
        (), f"where measures go besides a trial's metrics.jsonl: {', '.join(TRACKERS)}", identity=False
    )
    plugins: tuple[str, ...] = setting(
        (), "files of your own that register more of what a recipe can name; the command line adds to these",
        identity=False,  # their hashes are
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.compat and self.classifier_pooling == "mean":
            raise ValueError("classifier_pooling = 'mean': the reference reads [CLS]; leave it or compat out")
        known = (*TASKS, CUSTOM, SEVERAL)
        if self.task not in known:
            near = difflib.get_close_matches(self.task.lower(), known, n=1)
            raise ValueError(
                f"task = {quoted(self.task, 60)}: no such task; "
                + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}; {BY_PLUGIN}")
            )
        if self.task == SEVERAL:
            self.several.check(known)

    def of_task(self, name: str) -> "FinetuneRecipe":
        """Return the recipe of one of several tasks; `custom.weights` are of the custom one alone."""
        custom = self.custom if name == CUSTOM else replace(self.custom, weights={})
        return replace(self, task=name, data=self.several.folders.get(name, self.data), custom=custom)

    @property
    def spec(self) -> TaskSpec:
        """The task, of one task alone, as the registry has it."""
        return custom_spec(self.custom) if self.task == CUSTOM else TASKS[self.task]

    @property
    def tags(self) -> set[str]:
        """The task's tags, or those of all the several; settings for other tags are refused."""
        if self.task == SEVERAL:
            return {"several tasks"}.union(*(self.of_task(name).tags for name in self.several.tasks))
        counted = {"tasks with published counts"} if self.spec.has_published_counts else set()
        return {"a custom task" if self.task == CUSTOM else self.task, self.spec.input} | counted

    @property
    def exports(self) -> bool:
        """Whether a class of Hugging Face's is like the head."""
        return not (self.spec.input == "questions" and self.answering.joint)

    def segment_of_words(self, num_segments: int) -> int:
        """Return the segment id of every token of a tagged sentence, of an encoder that tells `num_segments` apart. The
        reference has them all in segment 1 (finetune/tagging/tagging_tasks.py)."""
        return 1 if self.compat and num_segments > 1 else 0
