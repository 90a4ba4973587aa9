"""What the objectives of labelled tasks have in common."""

from collections.abc import Mapping

from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.objectives.objective import Losses, Objective


class SupervisedObjective(Objective):
    """An encoder and a head, with one loss, "loss".

    With `compat` the loss is the sum over the batch instead of its mean, as in google-research/electra,
    run_finetuning.py.
    """

    def __init__(self, encoder: Encoder, head: nn.Module, compat: bool = False):
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.compat = compat

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["loss"] if self.compat else losses.sums["loss"] / denominators["loss"]
