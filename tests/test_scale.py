"""The tables of docs/scale.md are what the program computes of the committed figures, and follow from them."""

import pytest

from benchmarks import scale
from bertsmith.planning.estimate import Assumptions, estimate

RATES = scale.Rates(
    worker=50e6, second=1.8, unit_seconds=1e-3, resume_seconds=1e-4, journal_bytes=200, manifest_bytes=20,
    journal_memory=1e8, num_units=1e6, feed=10e6, gpu=600e3,
)  # fmt: skip


def test_the_page_has_the_computed_tables():
    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.written_page(page) == page, "run python -m benchmarks.scale --write"


def test_text_takes_as_long_as_the_lowest_bound_says():
    corpus = scale.Corpus("", 90e9)
    few = scale.preparation(corpus, scale.Cluster("", nodes=1, cores=10), RATES)
    assert few.first == "the cores" and few.rate == pytest.approx(10 * 50e6 * 0.9)
    assert few.seconds == pytest.approx(200)
    many = scale.preparation(corpus, scale.Cluster("", nodes=100), RATES)
    assert many.limits["the command"] == pytest.approx(4.4e9), "a part of 4.4 MB in a millisecond"
    assert many.limits["the nodes' network"] == pytest.approx(100 * 1.25e9 / (0.322 + 2 * 0.4445))
    assert many.rate == min(many.limits.values()) and list(many.limits.values()) == sorted(many.limits.values())
    assert many.seconds < few.seconds


def test_one_gpu_trains_at_the_rate_that_was_measured():
    on, fed = scale.training(1, 256, 1000, RATES)
    assert on.tokens_per_second == pytest.approx(RATES.gpu) and fed == pytest.approx(0.06)
    assert on.seconds == pytest.approx(256 * 128 * 1000 / RATES.gpu)
    eight, fed = scale.training(8, 256, 1000, RATES)
    planned = estimate("bert-base", ["plan.steps=1000"], Assumptions(gpus=["H200"], num_gpus=8)).gpus[0]
    assert on.seconds / 8 < eight.seconds < on.seconds and eight.reducing > 0
    assert planned.price == eight.price and fed == pytest.approx(eight.tokens_per_second / 10e6)


@pytest.mark.parametrize(("seconds", "said"), [(30, "30 s"), (90, "1.5 min"), (5400, "90 min"), (9000, "2.5 h")])
def test_durations_are_short(seconds, said):
    assert scale.duration(seconds) == said
