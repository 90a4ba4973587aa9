"""When training ends: after steps, tokens or hours."""

from typing import ClassVar

from bertsmith.config.fields import setting, settings


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
