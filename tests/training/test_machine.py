"""What is said of a machine that trains slowly as it is asked to."""

import pytest
import torch

from bertsmith.training import machine
from bertsmith.training.machine import MachineSettings, choose_machine, product_rate


@pytest.mark.parametrize(("slower", "dtype", "warned"), [(41, "bfloat16", 1), (2, "bfloat16", 0), (41, "auto", 0)])
def test_bfloat16_is_warned_of_once_where_the_processor_is_slow_at_it(slower, dtype, warned, monkeypatch, capsys):
    machine._warn_of_slow_bfloat16.cache_clear()
    monkeypatch.setattr(machine, "product_rate", lambda asked: 1.0 if asked == torch.bfloat16 else float(slower))
    for _ in range(2):
        choose_machine(MachineSettings(device="cpu", dtype=dtype))
    machine._warn_of_slow_bfloat16.cache_clear()
    said = capsys.readouterr().err
    assert said.count("warning") == warned
    assert warned == ("machine.dtype = 'bfloat16': this processor multiplies matrices 41 times slower in it" in said)


def test_products_are_timed():
    assert 1e6 < product_rate(torch.float32) < 1e14
