"""Masked-token prediction: BERT without next-sentence prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import check
from bertsmith.encoders.config import EncoderConfig, Precision
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.reference_flops import Pass
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.cross_entropy import TokenTargets, VocabularyCrossEntropy
from bertsmith.objectives.masking import (
    MaskingCollator,
    MaskingObjectiveSettings,
    MaskingSettings,
    MaskingVocabulary,
    MaskMeasuring,
    prediction_targets,
)
from bertsmith.objectives.objective import Batch, Losses, PretrainingObjective, PretrainingSettings


@settings
class MaskedTokensSettings(MaskingObjectiveSettings):
    """The BERT objective."""

    kind: Literal["mlm"] = setting("mlm", "mlm: predict masked tokens (BERT)")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")
    head: ClassVar[HeadName] = "masked_tokens"
    headline: ClassVar[str] = "mlm_accuracy"
    perplexities: ClassVar[tuple[str, ...]] = ("mlm_loss",)
    metric_prefix: ClassVar[str] = "mlm_"
    titles: ClassVar[Mapping[str, str]] = {
        "mlm_loss": "Masked-token loss, nats",
        "mlm_accuracy": "Masked-token accuracy",
        "mlm_perplexity": "Masked-token perplexity",
    }

    def baseline(self, batches: Sequence[Batch]) -> float:
        """See `PretrainingSettings`, as for all that follow."""
        masked = [prediction_targets(batch) for batch in batches]
        labels, weights = torch.cat([part.labels for part in masked]), torch.cat([part.weights for part in masked])
        counts = torch.bincount(labels, weights)
        return float(counts.max() / counts.sum().clamp(min=1))

    def reference_passes(self, config: Any, length: int, vocab_size: int) -> list[Pass] | None:
        return [Pass(config, length, vocab_size)]

    def measuring(self) -> dict[str, Any]:
        return asdict(MaskMeasuring(masking=self.masking))

    @classmethod
    def from_networks(cls, networks: Sequence[Any], measuring: Mapping[str, Any]) -> "PretrainingSettings | None":
        if [network.head for network in networks] != ["masked_tokens"]:
            return None
        return cls(masking=check(MaskMeasuring, dict(measuring)).masking)

    def init_from(
        self, initial: dict[str, Tensor], trained: Mapping[str, Tensor], generator: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        has_head = any(name.startswith("head.") for name in trained)
        return initial | dict(trained), [] if has_head else ["masked-token head"]

    def build(self, config: EncoderConfig, vocabulary: MaskingVocabulary) -> "MaskedTokens":
        return MaskedTokens(config, vocabulary, self)

    def collator(self, vocabulary: MaskingVocabulary, length: int, compat: bool = False) -> MaskingCollator:
        return MaskingCollator(self.masking, vocabulary, length, compat)


class MaskedTokens(MaskedTokenModel, PretrainingObjective):
    """A masked-token model with its loss."""

    settings: MaskedTokensSettings

    def __init__(self, config: EncoderConfig, vocabulary: MaskingVocabulary, settings: MaskedTokensSettings):
        super().__init__(config, vocabulary.size)
        self.cross_entropy = VocabularyCrossEntropy()
        self.settings = settings

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"mlm_loss": batch.targets["weights"].sum()}

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        return losses.sums["mlm_loss"] / denominators["mlm_loss"]

    def losses(self, batch: Batch) -> Losses:
        """Return `mlm_loss` in nats a predicted token; in evaluation mode also `mlm_accuracy`."""
        positions, labels, weights, _ = prediction_targets(batch)
        targets = TokenTargets(labels, weights, likeliest=not self.training)
        vectors = self.vectors(batch.tokens, positions)
        predicted = self.cross_entropy.predict(vectors, self.table, self.head.bias, targets)
        sums = {"mlm_loss": predicted.loss}
        if not self.training:
            sums["mlm_accuracy"] = ((predicted.likeliest == labels) * weights).sum()
        return Losses(sums, dict.fromkeys(sums, self.counts(batch)["mlm_loss"]))

    def hidden(self, tokens: Tokens) -> Tensor:
        return self.encoder(tokens)

    def flops_per_token(self, length: int) -> float:
        settings, predicted = self.encoder.settings, self.settings.masking.share_predicted(length)
        head = predicted * settings.masked_token_head_flops(len(self.head.bias)) + settings.mask_decoder_flops(length)
        return settings.flops_per_token(length) + head

    def activation_bytes_per_token(self, length: int, precision: Precision) -> float:
        settings, predicted = self.encoder.settings, self.settings.masking.max_predictions(length) / length
        head = predicted * settings.masked_token_head_bytes(precision) + settings.mask_decoder_bytes(length, precision)
        return settings.activation_bytes_per_token(length, precision) + head
