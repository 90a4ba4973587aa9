"""Muon for the matrices inside the layers, AdamW for all other weights."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.errors import UserError
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.optimizer import is_in_layers

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that takes every singular value towards 1. Source: K. Jordan, Muon, 2024; torch.optim.Muon."""
MAX_GATHERED = 1 << 24
"""Numbers in matrices that are gathered at a time, where their rows are dealt to ranks."""

NEURON_SQUARE = "neuron_square"
"""Name in the state of the mean squared update of each row of a matrix, [rows, 1]."""


@settings
class MuonSettings(AdamWSettings):
    """Muon: a matrix moves along its momentum made orthogonal. Tables, heads, biases and norms move by AdamW.

    `weight_decay` and the rate of the schedule are AdamW's.
    Source: K. Jordan et al., Muon, 2024; arXiv 2502.16982 for the rates that match AdamW's; torch.optim.Muon.
    """

    kind: Literal["muon"] = setting(  # type: ignore[assignment]  # another kind of the same union
        "muon", "muon: orthogonal momentum for the layers' matrices, AdamW for the rest"
    )
    beta2: float = setting(0.98, "memory of the mean squared gradient", ge=0, lt=1)
    bias_correction: bool = setting(True, "enlarge the first steps' means for their short memory")
    matrix_rate: float = setting(1.0, "learning rate of the layers' matrices, times the schedule's", gt=0)
    matrix_decay: float = setting(0.01, "decoupled decay of these matrices, times their learning rate", ge=0)
    adjust_rate: Literal["match_rms_adamw", "original"] = setting(
        "match_rms_adamw", "how a matrix's rate follows its shape: to moves as large as AdamW's, or √(rows/columns) ≥ 1"
    )
    momentum: float = setting(0.95, "memory of a matrix's mean gradient", ge=0, lt=1)
    first_momentum: float = setting(0.85, "that memory at the first step", ge=0, lt=1)
    momentum_steps: int = setting(300, "steps in which it rises from the one to the other", ge=0)
    neuron_beta: float = setting(
        0.0, "memory of each row's mean squared update, by whose root the row is divided, while the matrix's norm is "
        "kept (NorMuon, which has 0.95); 0: rows stay as they are", ge=0, lt=1
    )  # fmt: skip
    iterations: int = setting(5, "Newton-Schulz iterations that make a matrix orthogonal", ge=1, le=20)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        matrices = [
            group | {"lr_scale": self.matrix_rate * group["lr_scale"], "weight_decay": self.matrix_decay}
            for group in groups
            if group["in_layers"]
        ]
        return Muon(matrices, super().build([group for group in groups if not group["in_layers"]]), self)

    def check_fits(self, module: nn.Module) -> None:
        """See `OptimizerSettings`."""
        if not any(is_in_layers(name, parameter) for name, parameter in module.named_parameters()):
            raise UserError(
                "optimizer.kind = 'muon': this model has no matrices inside of layers; use optimizer.kind=adamw"
            )

    def initial_state(self, parameter: Tensor, in_layers: bool = False) -> dict[str, Tensor]:
        if not in_layers:
            return super().initial_state(parameter)
        state = {"step": torch.zeros((), device="cpu"), "momentum_buffer": torch.zeros_like(parameter)}
        return state | ({NEURON_SQUARE: torch.zeros_like(parameter[:, :1])} if self.neuron_beta else {})


class Muon(torch.optim.Optimizer):
    """Two optimizers as one, with common groups and state. torch.optim.Muon takes one matrix at a time, which on a GPU
    is two thousand launches a step for twelve layers; here matrices of one shape are orthogonalised together."""

    def __init__(self, matrices: list[dict[str, Any]], adamw: torch.optim.Optimizer, settings: MuonSettings):
        super().__init__(matrices, {"lr": 0.0})
        self.settings, self.adamw, self.matrices = settings, adamw, list(self.param_groups)
        self.param_groups += adamw.param_groups
        adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.matrices:
            self._move([parameter for parameter in group["params"] if parameter.grad is not None], group)
        self.adamw.step()

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        for parameter in parameters:
            self.state[parameter]["step"] += 1
        momentum = self._momentum(int(self.state[parameters[0]]["step"]))
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, buffers, momentum)  # Nesterov's
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        num_rows_of = dict(zip(group["params"], group["num_rows"], strict=True))
        matrices = [
            _Matrix(parameter, update, num_rows_of[parameter])
            for parameter, update in zip(parameters, updates, strict=True)
        ]
        for some in [matrices] if group["ranks"].size == 1 else _some_at_a_time(matrices):
            self._add_directions(some, group)

    def _add_directions(self, matrices: list["_Matrix"], group: dict[str, Any]) -> None:
        """Move matrices, of which this rank has some rows, along the orthogonal directions of the whole ones."""
        ranks, parts = group["ranks"], group["parts"]
        if ranks.size > 1:
            dtype = product_dtype(matrices[0].update)
            wholes = [ranks.whole(matrix.update.to(dtype), matrix.num_rows) for matrix in matrices]
        else:
            wholes = [matrix.update for matrix in matrices]
        directions = orthogonalize([part for whole in wholes for part in whole.chunk(parts)], self.settings.iterations)
        if self.settings.neuron_beta:
            states = [self.state[matrix.parameter] for matrix in matrices]
            squares = [
                ranks.whole(state[NEURON_SQUARE], matrix.num_rows)
                for state, matrix in zip(states, matrices, strict=True)
            ]
            directions = normalize_neurons(
                directions, [part for square in squares for part in square.chunk(parts)], self.settings.neuron_beta,
                self.settings.epsilon,
            )  # fmt: skip
            for state, square in zip(states, squares, strict=True):
                state[NEURON_SQUARE].copy_(square[ranks.rows(len(square))])
        for number, direction in enumerate(directions):
            matrix, start = matrices[number // parts], number % parts * len(direction)
            own = ranks.rows(matrix.num_rows)
            first, last = max(own.start, start), min(own.stop, start + len(direction))
            if first < last:
                rate = -group["lr"] * self._adjustment(*direction.shape)
                moved = matrix.parameter[first - own.start : last - own.start]
                moved.add_(direction[first - start : last - start], alpha=rate)

    def _momentum(self, step: int) -> float:
        """Return the momentum of this step, counted from 1."""
        chosen = self.settings
        risen = min(1.0, (step - 1) / chosen.momentum_steps) if chosen.momentum_steps else 1.0
        return chosen.first_momentum + risen * (chosen.momentum - chosen.first_momentum)

    def _adjustment(self, rows: int, columns: int) -> float:
        """Return the factor on a matrix's rate."""
        if self.settings.adjust_rate == "original":
            return max(1.0, rows / columns) ** 0.5
        return 0.2 * max(rows, columns) ** 0.5


class _Matrix(NamedTuple):
    parameter: Tensor
    """This rank's rows."""
    update: Tensor
    """Of these rows."""
    num_rows: int
    """Of the whole matrix."""


def _some_at_a_time(matrices: list[_Matrix]) -> list[list[_Matrix]]:
    """Return the matrices in lists that are not much larger, whole, than `MAX_GATHERED` numbers."""
    lists: list[list[_Matrix]] = []
    held = MAX_GATHERED
    for matrix in matrices:
        if held >= MAX_GATHERED:
            lists.append([])
            held = 0
        lists[-1].append(matrix)
        held += matrix.num_rows * matrix.parameter.shape[1]
    return lists


def orthogonalize(matrices: Sequence[Tensor], iterations: int) -> list[Tensor]:
    """Return the matrices with all singular values near 1: U Vᵀ of U S Vᵀ, to a tenth or two.

    Matrices of one shape, or of its transpose, are done in one batch.
    """
    done: dict[int, Tensor] = {}
    a, b, c = COEFFICIENTS
    for indices in _batches(tuple(sorted(matrix.shape)) for matrix in matrices):
        wide = [matrices[index] if _is_wide(matrices[index]) else matrices[index].mT for index in indices]
        x = torch.stack(wide).to(product_dtype(wide[0]))  # [n, rows ≤ columns, columns]
        x /= x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        for _ in range(iterations):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        for index, direction in zip(indices, x, strict=True):
            done[index] = direction if _is_wide(matrices[index]) else direction.mT
    return [done[index] for index in range(len(matrices))]


def product_dtype(matrix: Tensor) -> torch.dtype:
    """Return the format of the products that make a matrix orthogonal: bfloat16 on a GPU, as in torch.optim.Muon;
    float32 on the CPU, since most processors multiply bfloat16 tens of times slower."""
    return torch.bfloat16 if matrix.is_cuda else torch.float32


def normalize_neurons(
    directions: Sequence[Tensor], squares: Sequence[Tensor], beta: float, epsilon: float
) -> list[Tensor]:
    """Return the directions [rows, columns] with each row divided by the root of the mean square of its elements over
    the steps, and each matrix as long as it was: float32. These means, `squares` [rows, 1], are moved in place.

    Source: NorMuon, arXiv 2510.05491, algorithm 1. Its constant length is `adjust_rate`'s to choose here.
    """
    done: dict[int, Tensor] = {}
    for indices in _batches(direction.shape for direction in directions):
        x = torch.stack([directions[index] for index in indices]).float()  # [n, rows, columns]
        means = torch.stack([squares[index] for index in indices]).lerp_(x.square().mean(dim=2, keepdim=True), 1 - beta)
        torch._foreach_copy_([squares[index] for index in indices], list(means))
        norms = x.norm(dim=(1, 2), keepdim=True)
        x /= means.sqrt() + epsilon
        x *= norms / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        done |= dict(zip(indices, x, strict=True))
    return [done[index] for index in range(len(directions))]


def _batches(shapes: Iterable[tuple[int, ...]]) -> list[list[int]]:
    """Return the indices of each of the shapes."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        batches.setdefault(tuple(shape), []).append(index)
    return list(batches.values())


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]
