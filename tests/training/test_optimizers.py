"""Against independent NumPy twins of the reference's formulas."""

import numpy as np
import pytest
import torch
from torch import nn

from bertsmith.training.optimizers.adafactor import AdafactorSettings
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import build_optimizer, clip_gradients, set_learning_rate


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.dense = nn.Linear(5, 7)
        self.norm = nn.LayerNorm(7)


def gradients(module: nn.Module, step: int) -> None:
    torch.manual_seed(100 + step)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter) * (10.0 if step == 2 else 0.1)


def test_ten_steps_equal_the_references_adam():
    module, settings = Net(), AdamWSettings()
    twin = {name: parameter.detach().numpy().astype(np.float64) for name, parameter in module.named_parameters()}
    mean = {name: np.zeros_like(value) for name, value in twin.items()}
    square = {name: np.zeros_like(value) for name, value in twin.items()}
    optimizer = build_optimizer(module, settings)
    for step in range(10):
        gradients(module, step)
        raw = {name: parameter.grad.numpy().astype(np.float64) for name, parameter in module.named_parameters()}
        norm = np.sqrt(sum((gradient**2).sum() for gradient in raw.values()))
        assert float(clip_gradients(module, 1.0)) == pytest.approx(norm, rel=1e-5)
        rate = 1e-2 * (step + 1) / 10
        set_learning_rate(optimizer, rate)
        optimizer.step()
        for name, gradient in raw.items():
            gradient = gradient * min(1.0, 1.0 / norm)
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.999 * square[name] + 0.001 * gradient**2
            update = mean[name] / (np.sqrt(square[name]) + 1e-6)
            decay = 0.01 if name == "dense.weight" else 0.0
            twin[name] = twin[name] - rate * (update + decay * twin[name])
    for name, parameter in module.named_parameters():
        assert np.allclose(parameter.detach().numpy(), twin[name], atol=1e-6), name


def test_with_bias_correction_it_is_torchs_adamw():
    ours, theirs = Net(), Net()
    optimizer = build_optimizer(ours, AdamWSettings(bias_correction=True))
    other = torch.optim.AdamW(
        [
            {"params": [theirs.dense.weight]},
            {"params": [theirs.dense.bias, *theirs.norm.parameters()], "weight_decay": 0.0},
        ],
        lr=1e-2,
        weight_decay=0.01,
        eps=1e-6,
    )
    for step in range(5):
        for module, stepper in ((ours, optimizer), (theirs, other)):
            gradients(module, step)
            set_learning_rate(optimizer, 1e-2)
            stepper.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_rates_differ_by_name():
    module = Net()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = build_optimizer(module, AdamWSettings(weight_decay=0), lambda name: 0.5 if "norm" in name else 1.0)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer, 1e-2)
    optimizer.step()
    moved = {name: (before[name] - parameter.detach()).mean().item() for name, parameter in module.named_parameters()}
    assert moved["norm.weight"] == pytest.approx(moved["dense.weight"] / 2, rel=1e-4)


def test_no_clipping_leaves_gradients_alone():
    module = Net()
    gradients(module, 2)
    before = module.dense.weight.grad.clone()
    clip_gradients(module, 0)
    assert torch.equal(before, module.dense.weight.grad)


def test_adafactor_is_torchs_and_keeps_what_torch_keeps():
    ours, theirs = Net(), Net()
    settings = AdafactorSettings(weight_decay=0.1, beta2_decay=0.7, clip_threshold=1.5)
    optimizer = build_optimizer(ours, settings)
    other = torch.optim.Adafactor(
        [
            {"params": [theirs.dense.weight]},
            {"params": [theirs.dense.bias, *theirs.norm.parameters()], "weight_decay": 0.0},
        ],
        lr=1e-2, weight_decay=0.1, beta2_decay=-0.7, d=1.5,
    )  # fmt: skip
    for step in range(5):
        for module, stepper in ((ours, optimizer), (theirs, other)):
            gradients(module, step)
            set_learning_rate(optimizer, 1e-2)
            stepper.step()
    shapes = settings.state_shapes(ours)
    for (name, one), two in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two)
        assert optimizer.state[one].keys() == other.state[two].keys()
        for key, tensor in other.state[two].items():
            assert torch.equal(optimizer.state[one][key], tensor)
            assert (shapes[f"{name}.{key}"].shape, shapes[f"{name}.{key}"].dtype) == (tensor.shape, tensor.dtype)
    kept = sum(tensor.numel() for tensor in shapes.values() if tensor.ndim)
    assert kept == (5 + 7) + 3 * 7, "a row's and a column's mean of the matrix, each number of a vector"
