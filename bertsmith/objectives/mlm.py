"""Masked-token prediction: BERT without next-sentence prediction."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.costs import Precision
from bertsmith.encoders.networks import MaskedTokenModel
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.cross_entropy import Questions, VocabularyCrossEntropy
from bertsmith.objectives.masking import MaskingSettings, Rule, Vocabulary, asked, mask_tokens
from bertsmith.objectives.objective import Batch, Losses


@settings
class MaskedTokensSettings:
    """The BERT objective."""

    kind: Literal["mlm"] = setting("mlm", "mlm: predict masked tokens (BERT)")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")
    head: ClassVar[str] = "masked_tokens"
    """Of the network that fine-tuning starts from, as `bertsmith.hub.names` calls it."""
    generator: ClassVar[None] = None
    energies: ClassVar[bool] = False


class MaskedTokens(MaskedTokenModel):
    """A masked-token model that asks its own questions."""

    def __init__(
        self, encoder: EncoderConfig, vocabulary: Vocabulary, settings: MaskedTokensSettings, compat: bool = False
    ):
        super().__init__(encoder, vocabulary.size)
        self.cross_entropy = VocabularyCrossEntropy()
        self.vocabulary = vocabulary
        self.masking = settings.masking
        self.compat = compat

    def corrupt(self, tokens: Tokens, length: int, generator: np.random.Generator, progress: float = 0.0) -> Batch:
        """Mask packed rows; `length` is that of the longest row there can be, in tokens."""
        rule = Rule(self.masking, self.masking.budget(length), self.compat, progress)
        return mask_tokens(tokens, self.vocabulary, rule, generator)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"mlm_loss": max(1.0, float(batch.targets["weights"].sum()))}

    def total(self, losses: Losses, counts: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["mlm_loss"] / counts["mlm_loss"]

    def losses(self, batch: Batch) -> Losses:
        """`mlm_loss` in nats a predicted token; in evaluation mode also `mlm_accuracy`."""
        places, labels, weights, _ = asked(batch)
        questions = Questions(labels, weights, likeliest=not self.training)
        vectors = self.vectors(batch.tokens, places)
        predicted = self.cross_entropy.predict(vectors, self.table, self.head.bias, questions)
        sums = {"mlm_loss": predicted.loss}
        if not self.training:
            sums["mlm_accuracy"] = ((predicted.likeliest == labels) * weights).sum()
        return Losses(sums, dict.fromkeys(sums, weights.sum()))

    def hidden(self, tokens: Tokens) -> Tensor:
        """[T] → [T, D]."""
        return self.encoder(tokens)

    def flops_per_token(self, length: int) -> float:
        settings, predicted = self.encoder.settings, self.masking.share_predicted(length)
        return settings.flops_per_token(length) + predicted * settings.masked_token_head_flops(self.vocabulary.size)

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        settings, predicted = self.encoder.settings, self.masking.budget(length) / length
        head = predicted * settings.masked_token_head_bytes(precision)
        return settings.activation_bytes_per_token(length, precision) + head
