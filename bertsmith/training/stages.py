"""The stages of a pre-training: how many rows a step, and of which length, until how many tokens were seen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.text.segments import RowSettings
from bertsmith.training.schedules import Plan


@settings
class StageSettings:
    """A stage before the last one."""

    tokens: int = setting(description="how long it lasts: tokens seen in it", ge=1, le=10**15)
    batch_size: int | None = setting(None, "rows a step in it; left out: as the recipe's batch_size", ge=1)
    length: int | None = setting(None, "longest row in it, in tokens; left out: as the recipe's rows.length", ge=8)

    def __post_init__(self) -> None:
        if self.batch_size is None and self.length is None:
            raise ValueError("names neither batch_size nor length, so nothing is different in it; leave it out")


class Stage(NamedTuple):
    """Steps of the same number of rows of the same length."""

    batch_size: int
    rows: RowSettings
    end: float
    """Tokens seen by its end, in all; infinite for the last stage, which ends with the plan."""

    @property
    def tokens_a_step(self) -> int:
        """The most tokens of a step."""
        return self.batch_size * self.rows.length

    def describe(self) -> str:
        return f"{self.batch_size:,} rows of {self.rows.length:,} tokens"


def stage_at(stages: Sequence[Stage], tokens: int) -> int:
    """Return the number, from 0, of the stage that a step belongs to before which so many tokens were seen."""
    return next(number for number, stage in enumerate(stages) if tokens < stage.end)


def steps_of_stages(stages: Sequence[Stage], plan: Plan) -> list[int | None]:
    """Return each stage's steps, every row taken as full; None for the last one of a plan in hours. Less than 1 for the
    last one says that the others leave nothing of the plan."""
    steps: list[int | None] = []
    done = tokens = 0
    for stage in stages[:-1]:
        count = max(0, math.ceil((stage.end - tokens) / stage.tokens_a_step))
        steps.append(count)
        done, tokens = done + count, tokens + count * stage.tokens_a_step
    if plan.tokens is not None:
        return [*steps, math.ceil((plan.tokens - tokens) / stages[-1].tokens_a_step)]
    return [*steps, None if plan.steps is None else plan.steps - done]
