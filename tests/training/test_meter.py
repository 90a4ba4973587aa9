from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.meter import Meter


def test_rates_are_of_what_came_since_the_last_reading_and_need_counted_time():
    meter = Meter(choose_machine(MachineSettings(device="cpu")))
    meter.start(tokens=100, seconds=7.0, flops_per_token=10.0)
    first = meter.read(228, 7.0)  # a step that compiled
    assert first["tokens_per_second"] is None and first["peak_share"] is None and first["memory_bytes"] > 0
    second = meter.read(356, 9.0)
    assert second["tokens_per_second"] == 64
    assert second["peak_share"] == 640 / meter.peak_flops
