import pytest

from bertsmith.training.schedules import (
    CosineSettings,
    HeadWarmup,
    OneMinusSqrtSettings,
    Plan,
    PolynomialSettings,
    WarmupStableDecaySettings,
)

REFERENCE = PolynomialSettings(learning_rate=5e-4, warmup_proportion=0.01)


def twin(step: int, total: int, warmup: int, base: float) -> float:
    """The reference's formula, step counted from 0."""
    decayed = base * (1 - step / total)
    return decayed * min(1.0, step / warmup)


@pytest.mark.parametrize("step", [0, 1, 500, 9_999, 10_000, 500_000, 999_999])
def test_compat_is_the_references_rate(step: int):
    total = 1_000_000
    found = REFERENCE.rate(step / total, (step + 1) / total, compat=True)
    assert found == pytest.approx(twin(step, total, 10_000, 5e-4), abs=1e-12)


def test_the_first_step_moves_and_the_end_is_zero():
    total = 1000
    assert REFERENCE.rate(0, 1 / total) > 0
    assert REFERENCE.rate(0, 1 / total, compat=True) == 0
    assert REFERENCE.rate(1.0, 1.0) == 0
    peak = max(REFERENCE.rate(step / total, (step + 1) / total) for step in range(total))
    assert 0.98 * 5e-4 < peak < 5e-4


def test_no_warm_up_starts_at_the_top():
    assert PolynomialSettings(learning_rate=1.0, warmup_proportion=0).rate(0, 0.1) == 1.0


@pytest.mark.parametrize(
    ("plan", "half"),
    [(Plan(steps=10), (5, 0, 0)), (Plan(tokens=1000), (0, 500, 0)), (Plan(hours=2.0), (0, 0, 3600.0))],
)
def test_progress_is_counted_in_the_plans_unit(plan: Plan, half):
    assert plan.progress(*half) == 0.5
    assert plan.progress(*(4 * value for value in half)) == 1.0


def test_a_heads_warm_up_rises_over_its_first_tenth_and_ends():
    warmup = HeadWarmup(steps=20, learning_rate=1e-2)
    rates = [warmup.rate(step) for step in range(22)]
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-2])
    assert rates[19] == 1e-2 and rates[20:] == [None, None]
    assert HeadWarmup().rate(0) is None


def test_a_cosine_falls_from_the_top_over_the_middle_to_zero():
    cosine = CosineSettings(learning_rate=2.0, warmup_proportion=0.1)
    assert [cosine.rate(at, at) for at in (0.25, 0.5, 1.0)] == pytest.approx([1 + 0.5**0.5, 1.0, 0.0])
    assert cosine.rate(0.0, 0.05) == pytest.approx(1.0), "half of its warm-up"


@pytest.mark.parametrize(("shape", "half"), [("linear", 0.5), ("one_minus_sqrt", 1 - 0.5**0.5)])
def test_a_stable_schedule_is_constant_and_falls_at_the_end(shape, half):
    stable = WarmupStableDecaySettings(
        learning_rate=2.0, warmup_proportion=0.1, decay_proportion=0.2, decay_shape=shape
    )
    assert [stable.rate(at, at) for at in (0.05, 0.1, 0.5, 0.8)] == pytest.approx([1.0, 2.0, 2.0, 2.0])
    assert [stable.rate(at, at) for at in (0.9, 1.0)] == pytest.approx([2 * half, 0.0])
    with pytest.raises(ValueError, match="add up to more than 1"):
        WarmupStableDecaySettings(warmup_proportion=0.5, decay_proportion=0.6)


def test_one_minus_sqrt_falls_fast_at_first():
    schedule = OneMinusSqrtSettings(learning_rate=1.0, warmup_proportion=0.0)
    assert [schedule.rate(at, at) for at in (0.0, 0.25, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
