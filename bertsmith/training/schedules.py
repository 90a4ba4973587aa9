"""The learning rate, as a pure function of how far the plan is; and of new weights that warm up first."""

from bertsmith.config.fields import setting, settings


@settings
class ScheduleSettings:
    """Linear warm-up times polynomial decay to zero."""

    learning_rate: float = setting(5e-4, "what the warm-up rises towards", gt=0)
    warmup_proportion: float = setting(0.01, "share of the plan spent rising", ge=0, le=1)
    decay_power: float = setting(1.0, "exponent of the decay; 1 is linear", gt=0)


def learning_rate(settings: ScheduleSettings, before: float, after: float, compat: bool = False) -> float:
    """For a step that takes the plan's progress from `before` to `after`, both in [0, 1].

    The two factors multiply, so the peak lies slightly under `settings.learning_rate`. Warm-up looks at the step's end
    (at its beginning the first step would stand still, which `compat` asks for), decay at its beginning, so that the
    last step still moves and the rate is zero where the plan ends.
    Source: google-research/electra, model/optimization.py, create_optimizer.
    """
    decay = (1.0 - before) ** settings.decay_power
    risen = before if compat else after
    warmup = min(1.0, risen / settings.warmup_proportion) if settings.warmup_proportion else 1.0
    return settings.learning_rate * decay * warmup


@settings
class HeadWarmup:
    """Steps in which only weights that the model of `init` lacks learn, and its own stand still.

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
