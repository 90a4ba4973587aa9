"""Masked-token prediction: BERT without next-sentence prediction."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.model.config import EncoderSettings
from bertsmith.model.encoder import Encoder
from bertsmith.model.heads import MaskedTokenHead
from bertsmith.model.tokens import Tokens
from bertsmith.objectives.cross_entropy import summed_cross_entropy
from bertsmith.objectives.masking import MaskingSettings, Rule, Vocabulary, mask
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.settings import setting, settings


@settings
class MaskedTokensSettings:
    """The BERT objective."""

    kind: Literal["mlm"] = setting("mlm", "mlm: predict masked tokens")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")


class MaskedTokens(nn.Module):
    """An encoder with a masked-token head on the encoder's own token table."""

    def __init__(
        self, encoder: EncoderSettings, vocabulary: Vocabulary, masking: MaskingSettings, compat: bool = False
    ):
        super().__init__()
        self.encoder = Encoder(encoder, vocabulary.size)
        self.head = MaskedTokenHead(encoder, vocabulary.size)
        self.vocabulary = vocabulary
        self.masking = masking
        self.compat = compat

    def corrupt(self, tokens: Tokens, budget: int, generator: np.random.Generator) -> Batch:
        """Mask packed rows; `budget` is the most predictions a row gets (see `MaskingSettings.budget`)."""
        lengths = tokens.row_lengths.numpy()
        masked = mask(tokens.ids.numpy(), lengths, self.vocabulary, Rule(self.masking, budget, self.compat), generator)
        targets = {"positions": masked.positions, "labels": masked.labels, "weights": masked.weights}
        return Batch(
            tokens.with_ids(torch.from_numpy(masked.ids)),
            {name: torch.from_numpy(target) for name, target in targets.items()},
        )

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"mlm_loss": float(batch.targets["weights"].sum())}

    def total(self, losses: Losses, counts: Mapping[str, float]) -> Tensor:
        return losses.sums["mlm_loss"] / max(1.0, counts["mlm_loss"])

    def scores(self, tokens: Tokens, places: Tensor) -> Tensor:
        """Scores over the vocabulary at `places` ([M], into the flat tokens): [M, V]. Nothing else is projected."""
        return self.head.scores(self._vectors(tokens, places), self._table)

    def losses(self, batch: Batch) -> Losses:
        """`mlm_loss` in nats a predicted token; in evaluation mode also `mlm_accuracy`."""
        positions, labels, weights = (batch.targets[name] for name in ("positions", "labels", "weights"))
        places = (batch.tokens.row_starts[:, None] + positions).flatten()  # [N × K]
        labels, weights = labels.flatten(), weights.flatten()
        if places.device.type == "cpu":  # elsewhere shapes stay as they are, for the compiler
            used = weights > 0
            places, labels, weights = places[used], labels[used], weights[used]
        if self.training:
            vectors = self.head(self._vectors(batch.tokens, places))
            sums = {"mlm_loss": summed_cross_entropy(vectors, self._table, self.head.bias, labels, weights)}
        else:
            scores = self.scores(batch.tokens, places)  # [M, V]
            sums = {
                "mlm_loss": (F.cross_entropy(scores.float(), labels, reduction="none") * weights).sum(),
                "mlm_accuracy": ((scores.argmax(dim=-1) == labels) * weights).sum(),
            }
        return Losses(sums, dict.fromkeys(sums, weights.sum()))

    @property
    def _table(self) -> Tensor:
        return self.encoder.embeddings.token.weight

    def _vectors(self, tokens: Tokens, places: Tensor) -> Tensor:
        return self.encoder(tokens).index_select(0, places)
