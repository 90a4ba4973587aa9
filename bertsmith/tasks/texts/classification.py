"""The objective of classes and numbers: encoder, head and loss."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.model.encoder import Encoder
from bertsmith.model.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses


class Classification(nn.Module):
    """An encoder with a head on each row's [CLS]: cross-entropy over classes, or squared error of one number.

    With `compat` the loss is the sum over the batch instead of its mean, as in google-research/electra,
    finetune/classification/classification_tasks.py and run_finetuning.py.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, compat: bool = False):
        """`head` is one of `bertsmith.model.heads`'s for classes; with one output it is a regression."""
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.is_regression = head.output.out_features == 1
        self.compat = compat

    def scores(self, tokens: Tokens) -> Tensor:
        """[N, C]: a logit a class, or the number."""
        return self.head(self.encoder.first_of_rows(tokens))

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"loss": float(batch.tokens.num_rows)}

    def losses(self, batch: Batch) -> Losses:
        """`loss` in nats, or squared; the target is "answers" [N]."""
        scores, answers = self.scores(batch.tokens).float(), batch.targets["answers"]
        if self.is_regression:
            loss = F.mse_loss(scores[:, 0], answers, reduction="sum")
        else:
            loss = F.cross_entropy(scores, answers, reduction="sum")
        return Losses({"loss": loss}, {"loss": float(batch.tokens.num_rows)})

    def total(self, losses: Losses, counts: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["loss"] if self.compat else losses.sums["loss"] / counts["loss"]
