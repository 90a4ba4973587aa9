"""Adafactor: of a matrix's squared gradients it keeps the means of rows and columns alone."""

from typing import Any, Literal

import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.training.optimizers.optimizer import OptimizerSettings


@settings
class AdafactorSettings(OptimizerSettings):
    """Adafactor without momentum; the learning rate is relative to the size of the weights.

    Source: arXiv 1804.04235, algorithms 4 and 5; torch.optim.Adafactor.
    """

    kind: Literal["adafactor"] = setting("adafactor", "adafactor: Adam's second moment from its rows and columns")
    beta2_decay: float = setting(0.8, "the mean squared gradient forgets as 1 − step^−beta2_decay does", ge=0)
    smallest_scale: float = setting(1e-3, "least size of the weights that the learning rate is relative to", gt=0)
    clip_threshold: float = setting(1.0, "largest root mean square of a weight's update, before the rate", ge=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(
            groups, lr=0.0, beta2_decay=-self.beta2_decay, eps=(None, self.smallest_scale), d=self.clip_threshold
        )

    def initial_state(self, parameter: Tensor, in_layers: bool = False) -> dict[str, Tensor]:
        state = {"step": torch.zeros((), device="cpu" if parameter.device.type == "cuda" else parameter.device)}
        if parameter.ndim < 2:
            return state | {"variance": torch.zeros_like(parameter)}
        return state | {
            "row_var": torch.zeros_like(parameter[..., :1]),
            "col_var": torch.zeros_like(parameter[..., :1, :]),
        }
