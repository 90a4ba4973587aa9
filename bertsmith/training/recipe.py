"""The settings of pre-training."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from bertsmith.config.fields import Renamed, setting, settings
from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.config import check_length
from bertsmith.encoders.reference_flops import reference_training_flops
from bertsmith.encoders.registry import EncoderSettings
from bertsmith.objectives.kinds import ObjectiveSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.text.segments import RowSettings
from bertsmith.training.machine import PretrainMachineSettings
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import Dealt, OptimizerSettings, build_optimizer
from bertsmith.training.optimizers.registry import OPTIMIZERS
from bertsmith.training.schedules import SCHEDULES, HeadWarmup, Plan, PolynomialSettings, ScheduleSettings
from bertsmith.training.stages import Stage, StageSettings, steps_of_stages
from bertsmith.training.trackers.registry import TRACKERS

QuickTask = Literal["cola", "sst-2", "mrpc", "sts-b", "rte"]
"""A task of GLUE that a quick reading has."""


@settings
class PretrainRecipe:
    """The settings of `bertsmith pretrain`."""

    data: str = setting(
        description="data folder made by `bertsmith prepare`, also behind an address (s3://…, gs://…)",
        identity=False,
        url=True,
    )
    weights: dict[str, float] = setting(
        {}, "of data of several corpora, name → its share of the training tokens beside the others', as {web=0.7, "
        "books=0.3}; by default those that it was prepared with", identity=False,  # the shares are
    )  # fmt: skip
    init: str | None = setting(
        None, "a model whose weights to begin with: a run, or what `import` or `export` wrote; by default random ones",
        identity=False,  # the weights' fingerprint is
    )  # fmt: skip
    branch: str | None = setting(
        None, "RUN@STEP: go on from that checkpoint of a run, with a learning rate that falls to zero from there on "
        "(schedule.kind=wsd)",
        identity=False,  # the checkpoint's fingerprint is
    )  # fmt: skip
    seed: int = setting(0, "of weights, rows, order, masks and dropout", ge=0)
    batch_size: int = setting(128, "rows a step", ge=1)
    compat: bool = setting(False, "do as the reference also where that is odd; docs/departures.md lists where")
    model: EncoderSettings = setting(BertConfig(), "the encoder")
    objective: ObjectiveSettings = setting(MaskedTokensSettings(), "what is learnt")
    rows: RowSettings = setting(RowSettings(), "how documents become rows")
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS] = setting(AdamWSettings(), "how weights move")
    schedule: Annotated[ScheduleSettings, SCHEDULES] = setting(PolynomialSettings(), "how fast")
    average_decay: float = setting(
        0.0, "a moving average of the weights keeps this share of itself a step, as 0.999; 0: none is kept", ge=0, lt=1
    )
    head_warmup: HeadWarmup = setting(HeadWarmup(), "with init: what it lacks learns first, alone")
    plan: Plan = setting(description="for how long")
    stages: tuple[StageSettings, ...] = setting(
        (), "stages before the last one, such as of short rows in small batches; the last one goes on to the plan's "
        "end with batch_size and rows.length"
    )  # fmt: skip
    machine: PretrainMachineSettings = setting(PretrainMachineSettings(), "on what", identity=False)
    evaluate_rows: int = setting(1024, "held-out rows in an evaluation; all there are if fewer", ge=1, identity=False)
    blimp: str | None = setting(
        None, "folder of BLiMP; given, its accuracy on a sample is measured at each evaluation", identity=False
    )
    blimp_pairs: int = setting(5, "of each of its 67 paradigms, in that sample", ge=1, identity=False)
    glue: str | None = setting(
        None,
        "GLUE folder; given, the weights are fine-tuned on at most 5,000 examples of five tasks, three seeds each, "
        "every glue_steps",
        identity=False,
    )
    glue_steps: int = setting(
        0, "steps between two such readings, each at the evaluation that comes next; 0: one, at the end", ge=0,
        identity=False,
    )  # fmt: skip
    glue_tasks: tuple[QuickTask, ...] = setting(
        (), f"which of {', '.join(get_args(QuickTask))}; none named: all that are in the folder", identity=False
    )
    log: tuple[Annotated[str, TRACKERS], ...] = setting(
        ("tensorboard",), f"where measures go besides metrics.jsonl: {', '.join(TRACKERS)}", identity=False
    )
    plugins: tuple[str, ...] = setting(
        (), "files of your own that register more of what a recipe can name; the command line adds to these",
        identity=False,  # their hashes are
    )  # fmt: skip

    renamed: ClassVar[dict[str, Renamed]] = {
        "tensorboard": ("log", lambda value: {True: ["tensorboard"], False: []}.get(value))
    }

    def __post_init__(self) -> None:
        check_length(self.model, "rows.length", self.rows.length)
        for number, stage in enumerate(self.stages):
            check_length(self.model, f"stages[{number}].length", stage.length or self.rows.length)
        self._check_stages_leave_some()
        self.objective.check_fits(self.model, self.compat)
        if self.rows.kind == "two_segments" and self.model.num_segments == 1:
            raise ValueError(
                "rows.kind = 'two_segments': the model knows one kind of segment (model.type_vocab_size); use windows"
            )
        for name, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"weights.{name} = {weight}: above 0; to leave a corpus out, prepare without it")
        if self.branch is not None and self.schedule.kind != "wsd":
            raise ValueError("branch: a schedule that falls where the branch begins; add schedule.kind=wsd")
        if self.branch is not None and self.init is not None:
            raise ValueError("branch and init: two beginnings; leave one of them out")
        for name, value in (("glue_steps", self.glue_steps), ("glue_tasks", list(self.glue_tasks))):
            if value and self.glue is None:
                raise ValueError(f"{name} = {value}: without glue nothing is read; add glue=DIR, or leave it out")
        if self.head_warmup.steps and self.init is None:
            raise ValueError("head_warmup.steps: without init all weights are new; leave it out")

    def _check_stages_leave_some(self) -> None:
        last = steps_of_stages(self.all_stages, self.plan)[-1]
        if last is None or last >= 1:
            return
        tokens, unit = sum(stage.tokens for stage in self.stages), self.plan.unit
        raise ValueError(
            f"stages: {tokens:,} tokens together leave nothing of plan.{unit} = {int(self.plan.total):,} to the last "
            f"stage, which has batch_size and rows.length; shorten one, lengthen the plan, or do without (stages=[])"
        )

    @property
    def all_stages(self) -> list[Stage]:
        """The stages in their order, with the last one, which has the recipe's own batch size and rows."""
        found, end = [], 0
        for stage in self.stages:
            end += stage.tokens
            rows = replace(self.rows, length=stage.length or self.rows.length)
            found.append(Stage(stage.batch_size or self.batch_size, rows, end))
        return [*found, Stage(self.batch_size, self.rows, math.inf)]

    def progress(self, step: int, tokens: int, seconds: float) -> float:
        """Return the plan's progress before a step for its masks, from 0 to 1, given what was done before it. In a run
        of one stage every row counts as full."""
        tokens = tokens if self.stages else step * self.batch_size * self.rows.length
        return self.plan.progress(step, tokens, seconds)

    def make_optimizer(
        self, objective: nn.Module, new: Collection[str] = (), dealt: Dealt | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of `objective`, whose weights of the names `new` warm up alone; `dealt`: see
        `build_optimizer`."""
        rate_of, averaged = self.objective.rate_of, self.average_decay > 0
        return build_optimizer(objective, self.optimizer, rate_of, new, averaged, dealt)

    def optimizer_state_shapes(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the initial state of the optimizer and of weight averages (`OptimizerSettings.state_shapes`)."""
        return self.optimizer.state_shapes(module, averaged=self.average_decay > 0)


def reference_flops_per_token(recipe: PretrainRecipe, vocab_size: int, length: int) -> float | None:
    """Return the operations a token of rows of `length` as google-research/electra counts them; None where it has no
    count."""
    model = recipe.model
    if not model.in_reference:
        return None
    passes = recipe.objective.reference_passes(model, length, vocab_size)
    return None if passes is None else reference_training_flops(sum(part.flops() for part in passes)) / length
