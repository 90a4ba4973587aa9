import pytest

from bertsmith.training import metrics
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.metrics import Meter, read_metrics


def test_rates_are_of_what_came_since_the_last_reading_and_need_counted_time():
    meter = Meter(choose_machine(MachineSettings(device="cpu")))
    meter.start(tokens=100, seconds=7.0)
    meter.set_cost(100, flops_per_token=10.0)
    first = meter.read(228, 7.0)  # a step that compiled
    assert first["tokens_per_second"] is None and first["mfu"] is None and first["memory_bytes"] > 0
    second = meter.read(356, 9.0)
    assert second["tokens_per_second"] == 64
    assert second["mfu"] == 640 / meter.peak_flops
    meter.set_cost(456, flops_per_token=30.0)  # a stage of longer rows, 100 tokens after the reading
    assert meter.read(556, 11.0)["mfu"] == (100 * 10 + 100 * 30) / 2 / meter.peak_flops
    assert meter.read(656, 12.0)["mfu"] == 3000 / meter.peak_flops


@pytest.mark.parametrize(("again", "mfu"), [(200.0, 0.75), (120.0, None)])
def test_a_peak_below_the_rate_is_measured_again_and_no_share_is_above_all(again, mfu, monkeypatch):
    """As where other programs ran beside this one when the peak was measured."""
    meter = Meter(choose_machine(MachineSettings(device="cpu")))
    meter.peak_flops = 100.0
    measured = [again]
    monkeypatch.setattr(metrics, "measured_peak_flops", lambda machine, again: measured.pop())
    meter.start(tokens=0, seconds=0.0)
    meter.set_cost(0, flops_per_token=10.0)
    assert meter.read(15, 1.0)["mfu"] == mfu and meter.peak_flops == again
    assert meter.read(30, 2.5)["mfu"] == 100.0 / again


def test_the_key_of_earlier_versions_is_read_as_mfu(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"split": "train", "step": 1, "peak_share": 0.25}\n')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"split": "train", "step": 1, "mfu": 0.25}]
