"""Adam as the reference has it, its weight-decay groups, and clipping."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings

CONVERGED_STEP = 2.0**24
"""A step count at which Adam's bias corrections are exactly 1, and which float32 no longer counts up from."""


@settings
class OptimizerSettings:
    """AdamW; the defaults are the reference's."""

    weight_decay: float = setting(0.01, "decoupled decay, times the learning rate; biases and norms are spared", ge=0)
    beta1: float = setting(0.9, "memory of the mean gradient", ge=0, lt=1)
    beta2: float = setting(0.999, "memory of the mean squared gradient", ge=0, lt=1)
    epsilon: float = setting(1e-6, "added to the root of the mean squared gradient", gt=0)
    bias_correction: bool = setting(
        False, "enlarge the first steps' means for their short memory; the reference does not"
    )
    clip_norm: float = setting(1.0, "largest norm of all gradients together; 0 leaves them alone", ge=0)


def build_optimizer(
    module: nn.Module,
    settings: OptimizerSettings,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    new: Collection[str] = (),
) -> torch.optim.AdamW:
    """Build an optimizer over all parameters of `module`.

    Args:
        module: on the device it will be trained on.
        settings: see there.
        rate_of: the factor on the learning rate of the parameter of this name (layer-wise decay).
        new: names of the parameters that warm up alone (see `set_learning_rate`).

    Source: google-research/electra, model/optimization.py, AdamWeightDecayOptimizer: no bias correction, epsilon
    outside the root, decay decoupled, none on names with "LayerNorm", "layer_norm" or "bias".
    """
    groups: dict[tuple[float, float, bool], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        spared = parameter.ndim < 2  # biases and norms; tables and matrices decay
        key = (0.0 if spared else settings.weight_decay, rate_of(name), name in new)
        groups.setdefault(key, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "rate": rate, "new": is_new}
            for (decay, rate, is_new), members in groups.items()
        ],
        lr=0.0,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
    first_step = 0.0 if settings.bias_correction else CONVERGED_STEP
    for parameter in module.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(first_step, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, new_rate: float | None = None) -> None:
    """Set each group's learning rate; with `new_rate` that of new parameters, and 0 for all others."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"] if new_rate is None else new_rate if group["new"] else 0.0


def clip_gradients(module: nn.Module, clip_norm: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `clip_norm` (0: leave them); returns the norm before."""
    limit = clip_norm or float("inf")
    return nn.utils.clip_grad_norm_(module.parameters(), limit, foreach=True)
