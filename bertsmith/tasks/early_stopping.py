"""Stopping when it no longer helps: a share of the training examples is held out, and training ends where the model no
longer gets better on it. Dev, which gives the scores, has no part in it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.errors import UserError
from bertsmith.randomness import derived_rng
from bertsmith.tasks.cautions import stood_still
from bertsmith.tasks.dataset import EvalSets, score_sets
from bertsmith.training.machine import Machine


@settings
class EarlyStoppingSettings:
    """When training may end before its plan; the learning rate stays the plan's until then."""

    share: float = setting(
        0.0, "share of the training examples that is held out for evaluation and never trained on; 0 for none, which "
        "trains to the end", ge=0, lt=1,
    )  # fmt: skip
    patience: int = setting(3, "evaluations in a row without a better headline score before training stops", ge=1)
    every: float = setting(1.0, "epochs between two evaluations; 0.25 evaluates four times an epoch", gt=0)


def split_held_out(num_examples: int, share: float, what: str = "examples") -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of the examples, or of `what` else they are, that are trained on and of those that are held out,
    both rising: the same for all seeds, as long as the number of examples and the share are. Raises UserError where no
    example is held out, or none is left."""
    num_held_out = round(num_examples * share)
    if not 0 < num_held_out < num_examples:
        raise UserError(
            f"early_stopping.share = {share:g}: of {num_examples:,} training {what} that holds out {num_held_out:,} "
            f"and leaves {num_examples - num_held_out:,}; both need one at least"
        )
    order = derived_rng(0, "early stopping").permutation(num_examples)
    return np.sort(order[num_held_out:]), np.sort(order[:num_held_out])


@dataclass
class EarlyStopping:
    """A rule that ends training by held-out scores; it keeps the best weights, in the host's memory."""

    sets: EvalSets
    """The sets that are held out, of `num_examples` examples."""
    metric: str
    machine: Machine
    patience: int
    num_examples: int = 0
    best_score: float = -math.inf
    best_step: int = 0
    cautions: list[str] = field(default_factory=list)
    """That the score stood still, once."""
    _weights: dict[str, Tensor] = field(default_factory=dict)
    _scores: list[float] = field(default_factory=list)
    _num_worse: int = 0

    def evaluate(self, objective: nn.Module, step: int) -> dict[str, float]:
        """Score the model as it is after this step."""
        metrics, _, majority_score, _ = score_sets(objective, self.sets, self.machine)
        self._scores.append(metrics[self.metric])
        caution = stood_still(self.metric, self._scores, majority_score, self.num_examples)
        if caution is not None and not self.cautions:
            self.cautions.append(caution)
        self._num_worse += 1
        if metrics[self.metric] > self.best_score:
            self.best_score, self.best_step, self._num_worse = metrics[self.metric], step, 0
            self._weights = {name: tensor.to("cpu", copy=True) for name, tensor in objective.state_dict().items()}
        return metrics

    @property
    def should_stop(self) -> bool:
        return self._num_worse >= self.patience

    def restore(self, objective: nn.Module) -> None:
        """Give the model the weights that did best; of several equally good ones the earliest."""
        objective.load_state_dict(self._weights)

    def to_json(self) -> dict[str, Any]:
        """Return what a trial's results.json says of it."""
        return {"metric": self.metric, "score": self.best_score, "step": self.best_step}
