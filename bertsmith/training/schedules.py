"""When training ends; the learning rate, as a pure function of how far that plan is, and of new weights that warm up
first."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.registry import Kinds


@settings
class Plan:
    """The length of a training in one of `steps`, `tokens`, `hours`; schedules that fall end there."""

    exclusive: ClassVar[tuple[str, ...]] = ("steps", "tokens", "hours")

    steps: int | None = setting(None, "optimizer steps in all, those before a resumption included", ge=1, le=10**9)
    tokens: int | None = setting(None, "tokens seen in all", ge=1, le=10**15)
    hours: float | None = setting(
        None, "hours of training in all (start-up and evaluation not counted)", gt=0, le=10**6
    )
    checkpoint_steps: int = setting(1000, "steps between checkpoints", ge=1, identity=False)
    keep_checkpoints: int = setting(2, "newest checkpoints to keep; 0 keeps all", ge=0, identity=False)
    evaluate_steps: int = setting(1000, "steps between held-out evaluations", ge=1, identity=False)
    log_steps: int = setting(50, "steps between lines of metrics", ge=1, identity=False)

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.steps, self.tokens, self.hours)) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.exclusive)}")

    @property
    def unit(self) -> str:
        """The name of the given one."""
        return next(name for name in self.exclusive if getattr(self, name) is not None)

    @property
    def total(self) -> float:
        """In steps, tokens or seconds."""
        return getattr(self, self.unit) * (3600 if self.unit == "hours" else 1)

    def done(self, steps: int, tokens: int, seconds: float) -> float:
        """Return how much of `total` these are."""
        return {"steps": steps, "tokens": tokens, "hours": seconds}[self.unit]

    def progress(self, steps: int, tokens: int, seconds: float) -> float:
        """Return the progress from 0 at the start to 1 at the end, and never more."""
        return min(1.0, self.done(steps, tokens, seconds) / self.total)


def progress_of(plan: Plan, step: int) -> str:
    """Write how far a run is, for people: "step 2 of 300"."""
    return f"step {step:,}" + (f" of {plan.steps:,}" if plan.steps is not None else " of a plan in " + plan.unit)


@settings
class ScheduleSettings(ABC):
    """The base of a schedule's settings: a linear warm-up, times what falls over the plan."""

    falls: ClassVar[bool] = True
    """True if the rate is zero at the plan's end, so that a finished run cannot go on."""

    kind: str = setting("", "which schedule")
    learning_rate: float = setting(5e-4, "what the warm-up rises towards", gt=0)
    warmup_proportion: float = setting(0.01, "share of the plan spent rising", ge=0, le=1)

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Return the factor on the learning rate after this share of the plan, 1 at 0."""

    def rate(self, before: float, after: float, compat: bool = False) -> float:
        """Return the rate of a step that takes the plan's progress from `before` to `after`, both in [0, 1].

        The two factors multiply, so the peak lies slightly under `learning_rate`. Warm-up looks at the step's end (at
        its beginning the first step would stand still, which `compat` asks for), decay at its beginning, so that the
        last step still moves where the rate is zero at the plan's end.
        Source: google-research/electra, model/optimization.py, create_optimizer.
        """
        risen = before if compat else after
        warmup = min(1.0, risen / self.warmup_proportion) if self.warmup_proportion else 1.0
        return self.learning_rate * self.decay(before) * warmup


@settings
class PolynomialSettings(ScheduleSettings):
    """Linear warm-up times polynomial decay to zero."""

    kind: Literal["polynomial"] = setting("polynomial", "polynomial: falls to zero as a power of what is left")
    decay_power: float = setting(1.0, "exponent of the decay; 1 is linear", gt=0)

    def decay(self, progress: float) -> float:
        return (1.0 - progress) ** self.decay_power


@settings
class CosineSettings(ScheduleSettings):
    """Linear warm-up times half a cosine, from one to zero."""

    kind: Literal["cosine"] = setting("cosine", "cosine: falls to zero as half a cosine")

    def decay(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))


@settings
class OneMinusSqrtSettings(ScheduleSettings):
    """Linear warm-up times one minus the square root of the progress, which falls fast at first.

    Source: Hägele et al. 2024, arXiv 2405.18392, section 4.
    """

    kind: Literal["one_minus_sqrt"] = setting("one_minus_sqrt", "one_minus_sqrt: falls to zero as 1 − √progress")

    def decay(self, progress: float) -> float:
        return 1.0 - math.sqrt(progress)


@settings
class ConstantSettings(ScheduleSettings):
    """Linear warm-up, then constant: a finished run may go on with a longer plan, and be branched (`branch`)."""

    falls: ClassVar[bool] = False

    kind: Literal["constant"] = setting("constant", "constant: never falls")

    def decay(self, progress: float) -> float:
        return 1.0


@settings
class WarmupStableDecaySettings(ScheduleSettings):
    """Linear warm-up, then constant, then a decay to zero over the last part of the plan.

    Source: MiniCPM, arXiv 2404.06395, section 4; Hägele et al. 2024, arXiv 2405.18392, for its shapes.
    """

    kind: Literal["wsd"] = setting("wsd", "wsd: constant after the warm-up, and a decay to zero at the end")
    decay_proportion: float = setting(0.2, "share of the plan spent falling", gt=0, le=1)
    decay_shape: Literal["linear", "one_minus_sqrt"] = setting("one_minus_sqrt", "how it falls")

    def __post_init__(self) -> None:
        if self.warmup_proportion + self.decay_proportion > 1:
            raise ValueError("warmup_proportion and decay_proportion add up to more than 1, the whole plan")

    def decay(self, progress: float) -> float:
        fallen = max(0.0, 1.0 - (1.0 - progress) / self.decay_proportion)
        return 1.0 - (fallen if self.decay_shape == "linear" else math.sqrt(fallen))


SCHEDULES = Kinds("schedule", (
    PolynomialSettings, CosineSettings, OneMinusSqrtSettings, ConstantSettings, WarmupStableDecaySettings,
))  # fmt: skip
"""The schedules that there are, by their `kind`."""


@settings
class HeadWarmup:
    """The first steps of a run with `init`: only weights that its model lacks are trained, its own are frozen.

    A new head's first gradients are noise to an encoder that is trained. Measured in docs/log.md.
    """

    steps: int = setting(0, "with init: steps in which only weights that its model lacks (a new head) learn", ge=0)
    learning_rate: float = setting(1e-3, "of these weights in these steps", gt=0)

    def rate(self, step: int) -> float | None:
        """Return the learning rate of new weights in this step, counted from 0, after a short rise; None where all
        weights learn."""
        return None if step >= self.steps else self.learning_rate * min(1.0, (step + 1) / (RISE * self.steps))


RISE = 0.1
"""Share of a head's warm-up in which its learning rate rises."""
