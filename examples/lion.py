"""An optimizer: Lion (arXiv 2302.06675), which moves each weight by the sign of an interpolated momentum.

bertsmith pretrain bert-tiny --plugin examples/lion.py optimizer.kind=lion schedule.learning_rate=1e-4 data=data/text \
    --out runs/lion
"""

from typing import Any, Literal

import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.training.optimizers.optimizer import OptimizerSettings
from bertsmith.training.optimizers.registry import OPTIMIZERS


@OPTIMIZERS.register
@settings
class LionSettings(OptimizerSettings):
    """The settings of the recipe's table `optimizer`; weight decay and clipping are there already."""

    kind: Literal["lion"] = setting("lion", "lion: the sign of a momentum")
    beta1: float = setting(0.9, "share of the momentum in a step", ge=0, lt=1)
    beta2: float = setting(0.99, "memory of the momentum", ge=0, lt=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return Lion(groups, {"lr": 0.0, "betas": (self.beta1, self.beta2)})

    def initial_state(self, parameter: Tensor, in_layers: bool) -> dict[str, Tensor]:
        """All that is kept of a parameter: checkpoints save it, and hold what they read to these shapes."""
        return {"momentum": torch.zeros_like(parameter)}


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of the paper; a group has "lr", "betas" and "weight_decay"."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter]["momentum"]
                update = momentum.lerp(parameter.grad, 1 - beta1).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
                momentum.lerp_(parameter.grad, 1 - beta2)
