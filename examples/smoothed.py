"""An objective: masked-token prediction with label smoothing (arXiv 1512.00567, section 7).

bertsmith pretrain bert-tiny --plugin examples/smoothed.py objective.kind=smoothed data=data/text --out runs/smoothed
"""

from typing import Literal

import torch.nn.functional as F

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.objectives.masking import MaskingVocabulary, prediction_targets
from bertsmith.objectives.mlm import MaskedTokens, MaskedTokensSettings
from bertsmith.objectives.objective import Batch, Losses


@OBJECTIVES.register
@settings
class SmoothedSettings(MaskedTokensSettings):
    """The settings of the recipe's table `objective`, and what they build."""

    kind: Literal["smoothed"] = setting("smoothed", "smoothed: masked tokens, with label smoothing")
    smoothing: float = setting(0.1, "share of a target's probability that all tokens have alike", ge=0, lt=1)

    def build(self, config: EncoderConfig, vocabulary: MaskingVocabulary) -> "Smoothed":
        return Smoothed(config, vocabulary, self)


class Smoothed(MaskedTokens):
    """A masked-token model; held-out text is measured without smoothing, so that perplexities can be compared."""

    settings: SmoothedSettings

    def losses(self, batch: Batch) -> Losses:
        if not self.training:
            return super().losses(batch)
        positions, labels, weights, _ = prediction_targets(batch)
        scores = self.scores(batch.tokens, positions).float()  # [M, V]
        loss = F.cross_entropy(scores, labels, reduction="none", label_smoothing=self.settings.smoothing)
        return Losses({"mlm_loss": (loss * weights).sum()}, self.counts(batch))
