"""How rows lie on a machine, and what is said of one that trains slowly as it is asked to."""

import numpy as np
import pytest
import torch

from bertsmith.encoders.tokens import Tokens
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


@pytest.mark.parametrize(("dtype", "length", "num_tokens"), [("float32", 3, 5), ("bfloat16", 3, 6), ("bfloat16", 4, 5)])
def test_on_the_cpu_rows_that_are_nearly_full_are_padded_in_bfloat16_alone(dtype, length, num_tokens, monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda asked: 1.0)
    rows = Tokens.pack(np.ones(5), np.zeros(5), np.array([2, 3]))
    on_cpu = choose_machine(MachineSettings(device="cpu", dtype=dtype), pad_id=7)
    laid_out = on_cpu.lay_out(rows, length)
    assert laid_out.num_tokens == num_tokens and (laid_out.ids == 1).sum() == 5
