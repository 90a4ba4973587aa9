"""Muon against a NumPy twin and torch.optim.Muon."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from bertsmith.encoders.linear import JointLinear
from bertsmith.errors import UserError
from bertsmith.planning.estimate import estimate
from bertsmith.training.optimizers import muon
from bertsmith.training.optimizers.muon import COEFFICIENTS, MuonSettings, normalize_neurons, orthogonalize
from bertsmith.training.optimizers.optimizer import build_optimizer, set_learning_rate
from bertsmith.training.pretrain import pretrain
from tests.toys import tiny_recipe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6)
        layers = [nn.ModuleDict({"joint": JointLinear(6, 6, parts=3), "out": nn.Linear(6, 9)}) for _ in range(2)]
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(layers)


def gradients(module: nn.Module, step: int) -> None:
    torch.manual_seed(100 + step)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)


def twin_direction(update: np.ndarray) -> np.ndarray:
    a, b, c = COEFFICIENTS
    x = update if update.shape[0] <= update.shape[1] else update.T
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if update.shape[0] <= update.shape[1] else x.T


@pytest.mark.parametrize(("adjust", "neuron_beta"), [("match_rms_adamw", 0), ("original", 0), ("original", 0.9)])
def test_ten_steps_equal_a_twin_in_numpy(adjust, neuron_beta):
    settings = MuonSettings(
        matrix_rate=0.5, matrix_decay=0.1, adjust_rate=adjust, momentum_steps=5, beta2=0.98, neuron_beta=neuron_beta
    )
    module = Net()
    twin = {name: parameter.detach().double().numpy().copy() for name, parameter in module.named_parameters()}
    mean = {name: np.zeros_like(value) for name, value in twin.items()}
    square = {name: np.zeros_like(value) for name, value in twin.items()}
    rows_square = {name: np.zeros(len(value)) for name, value in twin.items()}
    optimizer = build_optimizer(module, settings)
    for step in range(10):
        gradients(module, step)
        raw = {name: parameter.grad.double().numpy() for name, parameter in module.named_parameters()}
        rate = 1e-2 * (step + 1) / 10
        set_learning_rate(optimizer, rate)
        optimizer.step()
        momentum = 0.85 + 0.1 * min(1.0, step / 5)
        for name, gradient in raw.items():
            if "layers" in name and gradient.ndim == 2:
                mean[name] = momentum * mean[name] + (1 - momentum) * gradient
                update = momentum * mean[name] + (1 - momentum) * gradient
                parts = 3 if "joint" in name else 1
                twin[name] *= 1 - 0.5 * rate * 0.1
                means = np.split(rows_square[name], parts)
                for part, value, mean_square in zip(
                    np.split(update, parts), np.split(twin[name], parts), means, strict=True
                ):
                    rows, columns = part.shape
                    direction = twin_direction(part)
                    if neuron_beta:
                        mean_square *= neuron_beta  # in place: a view
                        mean_square += (1 - neuron_beta) * (direction**2).mean(axis=1)
                        scaled = direction / (np.sqrt(mean_square)[:, None] + 1e-6)
                        direction = scaled * np.linalg.norm(direction) / np.linalg.norm(scaled)
                    factor = max(1, rows / columns) ** 0.5 if adjust == "original" else 0.2 * max(rows, columns) ** 0.5
                    value -= 0.5 * rate * factor * direction  # in place: a view
            else:
                mean[name] = 0.9 * mean[name] + 0.1 * gradient
                square[name] = 0.98 * square[name] + 0.02 * gradient**2
                update = mean[name] / (1 - 0.9 ** (step + 1))
                update /= np.sqrt(square[name] / (1 - 0.98 ** (step + 1))) + 1e-6
                twin[name] -= rate * (update + (0.01 if gradient.ndim == 2 else 0) * twin[name])
    for name, parameter in module.named_parameters():
        assert np.allclose(parameter.detach().numpy(), twin[name], atol=2e-6), name


def test_a_matrix_by_itself_moves_as_in_torch():
    ours, theirs = Net(), Net()
    settings = MuonSettings(matrix_decay=0.1, first_momentum=0.95, adjust_rate="original")
    optimizer = build_optimizer(ours, settings)
    other = torch.optim.Muon([layer["out"].weight for layer in theirs.encoder.layers], lr=1e-2, weight_decay=0.1)
    for step in range(5):
        for module, stepper in ((ours, optimizer), (theirs, other)):
            gradients(module, step)
            set_learning_rate(optimizer, 1e-2)
            stepper.step()
    for one, two in zip(ours.encoder.layers, theirs.encoder.layers, strict=True):
        assert torch.allclose(one["out"].weight, two["out"].weight, atol=1e-3)  # theirs in bfloat16


def test_rows_of_unequal_updates_come_to_move_alike_and_the_matrix_moves_as_far_as_before():
    torch.manual_seed(0)
    directions = [torch.randn(6, 4) * torch.tensor([[1.0], [1], [1], [1], [5], [0]]), torch.randn(3, 8)]
    squares = [torch.zeros(6, 1), torch.zeros(3, 1)]
    for _ in range(3):
        moved = normalize_neurons(directions, squares, 0.5, 1e-6)
    for before, after in zip(directions, moved, strict=True):
        assert after.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    lengths = moved[0].norm(dim=1)
    assert lengths[:5].tolist() == pytest.approx([lengths[0].item()] * 5, rel=1e-4) and lengths[5] == 0
    assert torch.allclose(squares[0], (1 - 0.5**3) * directions[0].square().mean(dim=1, keepdim=True))
    assert normalize_neurons([torch.zeros(2, 2)], [torch.zeros(2, 1)], 0.5, 1e-6)[0].tolist() == [[0, 0], [0, 0]]


def test_singular_values_come_near_one():
    torch.manual_seed(0)
    shapes = [(8, 8), (8, 32), (32, 8), (8, 8)]
    for direction, shape in zip(orthogonalize([torch.randn(shape) for shape in shapes], 5), shapes, strict=True):
        assert direction.shape == shape
        values = torch.linalg.svdvals(direction.float())
        assert values.min() > 0.3 and values.max() < 1.4


def test_a_model_without_matrices_in_layers_is_refused_before_there_is_a_folder(data, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"muon.*no matrices inside of layers; use optimizer.kind=adamw"):
        build_optimizer(nn.Linear(3, 3), MuonSettings())
    monkeypatch.setattr(muon, "is_in_layers", lambda name, parameter: False)
    with pytest.raises(UserError, match="no matrices inside of layers"):
        pretrain(tiny_recipe(data, "optimizer.kind=muon"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no matrices inside of layers"):
        estimate("bert-tiny", ["optimizer.kind=muon"])


def test_another_optimizers_state_in_a_run_is_named_and_stays(data, tmp_path, capsys):
    kinds = ("adamw", "muon")
    for kind in kinds:
        pretrain(tiny_recipe(data, f"optimizer.kind={kind}", "plan.checkpoint_steps=12"), tmp_path / kind)
    for kind, other in (kinds, kinds[::-1]):
        run = tmp_path / f"{kind}-mixed"
        shutil.copytree(tmp_path / kind, run)
        shutil.rmtree(run / "checkpoints")
        shutil.copytree(tmp_path / other / "checkpoints", run / "checkpoints")
        with pytest.raises(UserError, match="every checkpoint is damaged; start afresh with --overwrite"):
            pretrain(tiny_recipe(data, f"optimizer.kind={kind}", "plan.checkpoint_steps=12"), run)
        said = capsys.readouterr().err
        assert "optimizer.safetensors: damaged (it holds 'exp_avg, exp_avg_sq" in said
        assert ("momentum_buffer, step: another optimizer wrote it)" in said) == (kind == "muon")
        assert ("keeps exp_avg, exp_avg_sq, step: another" in said) == (kind == "adamw")
        assert (run / "checkpoints/step-00000012/optimizer.safetensors").exists()
