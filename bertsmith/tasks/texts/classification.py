"""The objective of classes, labels and numbers: encoder, head and loss."""

from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.supervised import SupervisedObjective


class Classification(SupervisedObjective):
    """An encoder with a head on each row's [CLS] or mean, and the loss of a kind of answer."""

    def __init__(self, encoder: Encoder, head: nn.Module, answers: AnswerKind, compat: bool = False):
        """Join an encoder and a `head` of `bertsmith.encoders.heads` for classes."""
        super().__init__(encoder, head, compat)
        self.answers = answers

    def scores(self, tokens: Tokens) -> Tensor:
        """Return [N, C]: a logit a class or label, or the number."""
        return self.head(self.encoder.pooled(tokens))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": self.answers.loss_count(batch.targets)}

    def losses(self, batch: Batch) -> Losses:
        """Return `loss`, see `AnswerKind.loss`."""
        scores = self.scores(batch.tokens).float()
        return Losses({"loss": self.answers.loss(scores, batch.targets)}, self.counts(batch))


def build_classification(encoder: Encoder, family: str, answers: AnswerKind, compat: bool = False) -> Classification:
    """Return the objective with a head of random weights."""
    settings, outputs = encoder.settings, answers.num_outputs
    head = PlainClassificationHead(settings, outputs) if compat else settings.classification_head(outputs, family)
    return Classification(encoder, head, answers, compat)
