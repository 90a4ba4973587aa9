"""AdamW, by default without bias correction, as the reference has it."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.training.optimizers.optimizer import OptimizerSettings

CONVERGED_STEP = 2.0**24
"""A step count at which Adam's bias corrections are exactly 1, and which float32 no longer counts up from."""


@settings
class AdamWSettings(OptimizerSettings):
    """AdamW; the defaults are the reference's.

    Source: google-research/electra, model/optimization.py, AdamWeightDecayOptimizer: no bias correction, epsilon
    outside the root, decay decoupled.
    """

    kind: Literal["adamw"] = setting("adamw", "adamw: Adam with decoupled weight decay")
    beta1: float = setting(0.9, "memory of the mean gradient", ge=0, lt=1)
    beta2: float = setting(0.999, "memory of the mean squared gradient", ge=0, lt=1)
    epsilon: float = setting(1e-6, "added to the root of the mean squared gradient", gt=0)
    bias_correction: bool = setting(
        False, "enlarge the first steps' means for their short memory; the reference does not"
    )

    moves_rows: ClassVar[bool] = True

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)

    def initial_state(self, parameter: Tensor, in_layers: bool = False) -> dict[str, Tensor]:
        first_step = 0.0 if self.bias_correction else CONVERGED_STEP
        return {
            "step": torch.tensor(first_step, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
