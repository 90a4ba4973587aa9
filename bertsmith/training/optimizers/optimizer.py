"""The base of optimizers' settings; groups of parameters by decay and rate; clipping; a moving average of weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.linear import JointLinear
from bertsmith.training.ranks import ALONE, Ranks

AVERAGE = "average"
"""Name of a weight's moving average (`WeightAverage`) in the optimizer's state, which checkpoints keep."""


@settings
class OptimizerSettings(ABC):
    """The base of an optimizer's settings. Each is in a file of its own and named in `registry.py`."""

    kind: str = setting("", "which optimizer")
    weight_decay: float = setting(0.01, "decoupled decay, times the learning rate; biases and norms are spared", ge=0)
    clip_norm: float = setting(1.0, "largest norm of all gradients together; 0 leaves them alone", ge=0)

    moves_rows: ClassVar[bool] = False
    """Whether it can move some rows of a weight while other ranks move the others, as `machine.shard` has it: what it
    keeps of a weight has as many rows, or no dimensions."""

    def check_fits(self, module: nn.Module) -> None:  # noqa: B027
        """Raises UserError where the optimizer cannot move the parameters of `module`."""

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer of groups of parameters; the "lr" of each is set at each step.

        A group has "weight_decay", "in_layers" (whether its members are matrices inside the layers) and "parts" (of how
        many matrices, one below the other, each of its members is made). Where rows are dealt to "ranks", its members
        are this rank's rows of weights that have "num_rows" each.
        """

    @abstractmethod
    def initial_state(self, parameter: Tensor, in_layers: bool) -> dict[str, Tensor]:
        """Return what the optimizer keeps of a parameter before its first step, on the parameter's device: all of it,
        since checkpoints are held to these names, shapes and formats. `in_layers` as in `build`."""

    def optimizer_state(self, name: str, parameter: Tensor, averaged: bool) -> dict[str, Tensor]:
        """Return all that is kept of a parameter before the first step, its moving average included if there is one."""
        average = {AVERAGE: parameter.detach().clone()} if averaged else {}
        return self.initial_state(parameter, is_in_layers(name, parameter)) | average

    def state_shapes(self, module: nn.Module, averaged: bool = False) -> dict[str, Tensor]:
        """Return the initial state of all parameters, as NAME.exp_avg → tensor, without memory. Raises UserError as
        `check_fits`."""
        self.check_fits(module)
        return {
            f"{name}.{key}": tensor
            for name, parameter in module.named_parameters()
            for key, tensor in self.optimizer_state(name, torch.empty_like(parameter, device="meta"), averaged).items()
        }


class Dealt(NamedTuple):
    """Weights whose rows are dealt to ranks."""

    ranks: Ranks
    num_rows: Mapping[str, int]
    """Of each weight, on all ranks together."""


def build_optimizer(
    module: nn.Module,
    settings: OptimizerSettings,
    lr_scale_of: Callable[[str], float] = lambda name: 1.0,
    new: Collection[str] = (),
    averaged: bool = False,
    dealt: Dealt | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer over all parameters of `module`, in its initial state.

    Args:
        module: on the device it will be trained on.
        settings: see there.
        lr_scale_of: the factor on the learning rate of the parameter of this name (layer-wise decay).
        new: names of the parameters that warm up alone (see `set_learning_rate`).
        averaged: keep a moving average of each parameter too, which `WeightAverage` moves.
        dealt: given, the parameters are this rank's rows of weights.

    Raises:
        UserError: as `OptimizerSettings.check_fits`.
    Source: google-research/electra, model/optimization.py: no decay on names with "LayerNorm", "layer_norm" or "bias".
    """
    state_names = frozenset(settings.state_shapes(module, averaged))
    parts_of = {f"{name}.weight": part.parts for name, part in module.named_modules() if isinstance(part, JointLinear)}
    groups: dict[tuple[Any, ...], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        spared = parameter.ndim < 2  # biases and norms; tables and matrices decay
        decay = 0.0 if spared else settings.weight_decay
        key = (decay, lr_scale_of(name), name in new, is_in_layers(name, parameter), parts_of.get(name, 1))
        groups.setdefault(key, []).append(parameter)
    names = ("weight_decay", "lr_scale", "new", "in_layers", "parts")
    ranks, num_rows = dealt or Dealt(ALONE, {})
    rows_of: dict[Tensor, int] = {
        each: num_rows.get(name, len(each) if each.ndim else 1) for name, each in module.named_parameters()
    }
    optimizer = settings.build([
        {"params": members, "ranks": ranks, "num_rows": [rows_of[member] for member in members]}
        | dict(zip(names, key, strict=True))
        for key, members in groups.items()
    ])  # fmt: skip
    for name, parameter in module.named_parameters():
        optimizer.state[parameter] = settings.optimizer_state(name, parameter, averaged)
    optimizer.state_names = state_names  # type: ignore[attr-defined]  # for checkpoints
    return optimizer


def is_in_layers(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter of this name is a matrix inside the layers: no table, head, bias or norm."""
    return ".layers." in name and parameter.ndim == 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, new_rate: float | None = None) -> None:
    """Set each group's learning rate; with `new_rate` that of new parameters, and 0 for all others."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"] if new_rate is None else new_rate if group["new"] else 0.0


def clip_gradients(module: nn.Module, clip_norm: float, dealt: Ranks = ALONE) -> Tensor:
    """Scale all gradients so that their common norm is at most `clip_norm` (0: leave them), over all ranks to which
    their rows are `dealt`; returns the norm before."""
    parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None], foreach=True)
    if dealt.store is not None:
        norm = dealt.norm_of_all(norm)
    nn.utils.clip_grads_with_norm_(parameters, clip_norm or float("inf"), norm, foreach=True)
    return norm


class WeightAverage:
    """An exponential moving average of a module's weights, in the state of its optimizer."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, decay: float):
        self.weights: list[Tensor] = list(module.parameters())
        self.averages = [optimizer.state[weight][AVERAGE] for weight in self.weights]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after this step, counted from 0. The first steps' averages are of few steps, so that the
        initial weights are soon forgotten: after t steps the share kept is at most (1 + t) / (10 + t)."""
        kept = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.weights, 1 - kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the weights, and back."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for weight, average in zip(self.weights, self.averages, strict=True):
            before = weight.clone()
            weight.copy_(average)
            average.copy_(before)
