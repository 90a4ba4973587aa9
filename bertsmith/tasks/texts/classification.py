"""The objective of classes, labels and numbers: encoder, head and loss."""

from collections.abc import Mapping

from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.tasks.texts.row_losses import CrossEntropy, RowLoss


class Classification(nn.Module):
    """An encoder with a head on each row's [CLS] or mean, and a loss of what the head gives.

    With `compat` the loss is the sum over the batch instead of its mean, as in google-research/electra,
    finetune/classification/classification_tasks.py and run_finetuning.py.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, loss: RowLoss | None = None, compat: bool = False):
        """`head` is one of `bertsmith.encoders.heads`'s for classes; without a `loss` that of classes counts."""
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.loss = loss or CrossEntropy()
        self.compat = compat

    def scores(self, tokens: Tokens) -> Tensor:
        """[N, C]: a logit a class or label, or the number."""
        return self.head(self.encoder.pooled(tokens))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": self.loss.count(batch.targets)}

    def losses(self, batch: Batch) -> Losses:
        """`loss`, see `row_losses`."""
        scores = self.scores(batch.tokens).float()
        return Losses({"loss": self.loss.total(scores, batch.targets)}, self.counts(batch))

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["loss"] if self.compat else losses.sums["loss"] / denominators["loss"]


def build_classification(
    encoder: Encoder, family: str, num_outputs: int, compat: bool = False, loss: RowLoss | None = None
) -> Classification:
    """The objective with a head of random weights."""
    settings = encoder.settings
    plain = PlainClassificationHead(settings, num_outputs) if compat else None
    return Classification(encoder, plain or settings.classification_head(num_outputs, family), loss, compat)
