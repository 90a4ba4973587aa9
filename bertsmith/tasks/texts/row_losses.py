"""Scores and answers of rows in, a loss out, as a sum with its count: one class a kind of answer.

Targets are those of a batch: "answers", and where some count for more than others "weights".
"""

from collections.abc import Mapping
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

Targets = Mapping[str, Tensor]


class RowLoss(Protocol):
    """A loss of N rows."""

    def total(self, scores: Tensor, targets: Targets) -> Tensor:
        """The sum over rows; scores are [N, C] float32."""

    def count(self, targets: Targets) -> Tensor | float:
        """What the sum is divided by to give the mean."""


class SquaredError:
    """Of one number a row: answers [N] float32."""

    def total(self, scores: Tensor, targets: Targets) -> Tensor:
        return F.mse_loss(scores[:, 0], targets["answers"], reduction="sum")

    def count(self, targets: Targets) -> float:
        return float(len(targets["answers"]))


class CrossEntropy:
    """In nats, of one class a row: answers [N] int64, and weights [N] of the rows. With weights the mean is a weighted
    one, as that of torch's `cross_entropy`."""

    def total(self, scores: Tensor, targets: Targets) -> Tensor:
        if "weights" not in targets:
            return F.cross_entropy(scores, targets["answers"], reduction="sum")
        return F.cross_entropy(scores, targets["answers"], reduction="none") @ targets["weights"]

    def count(self, targets: Targets) -> Tensor | float:
        return targets["weights"].sum() if "weights" in targets else float(len(targets["answers"]))


class BinaryCrossEntropy:
    """In nats, of any number of labels a row: answers [N, C] bool, and weights [N, C].

    Summed over a row's labels, so that it is what it is for classes, minus the log-likelihood of the row's answer, and
    each label is learnt as it would be alone. Its mean is over rows, whatever the weights. transformers'
    `multi_label_classification` divides by the number of labels too. AdamW's steps hardly depend on that factor, so the
    learning rate means the same; only the clipping of gradients bites earlier on the sum.
    """

    def total(self, scores: Tensor, targets: Targets) -> Tensor:
        answers = targets["answers"].to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, answers, targets.get("weights"), reduction="sum")

    def count(self, targets: Targets) -> float:
        return float(len(targets["answers"]))
