"""The objective of tagging: encoder, head and loss, with an answer a word."""

import torch.nn.functional as F
from torch import Tensor

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.tasks.supervised import SupervisedObjective
from bertsmith.tasks.words.encode_words import IGNORED


class Tagging(SupervisedObjective):
    """An encoder with a head on each token: cross-entropy over tags, at each word's first piece."""

    def scores(self, tokens: Tokens) -> Tensor:
        """Return [T, C]: a logit a tag."""
        return self.head(self.encoder(tokens))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": batch.targets.get("weights", batch.targets["answers"] != IGNORED).sum()}

    def losses(self, batch: Batch) -> Losses:
        """Return `loss` in nats; the targets are "answers" [N, L], `IGNORED` where there is none, and where some tags
        count for more than others "weights" [N, L], 0 where there is none."""
        scores = self.scores(batch.tokens).float()
        answers = _flat(batch, "answers", IGNORED).long()
        if "weights" in batch.targets:
            weights = _flat(batch, "weights", 0)
            loss = F.cross_entropy(scores, answers, ignore_index=IGNORED, reduction="none") @ weights
            return Losses({"loss": loss}, self.counts(batch))
        loss = F.cross_entropy(scores, answers, ignore_index=IGNORED, reduction="sum")
        return Losses({"loss": loss}, self.counts(batch))


def build_tagging(encoder: Encoder, family: str, num_tags: int, compat: bool = False) -> Tagging:
    """Return the objective with a head of random weights. The reference's has no dropout."""
    if compat:
        return Tagging(encoder, PlainClassificationHead(encoder.settings, num_tags, 0.0), compat=True)
    return Tagging(encoder, encoder.settings.tagging_head(num_tags))


def _flat(batch: Batch, name: str, fill: int) -> Tensor:
    """Return a target [N, L] as [T], one a token."""
    target = batch.targets[name]
    spare = batch.tokens.max_seqlen - target.shape[1]  # below 0 where the longest rows are in another batch
    return batch.tokens.to_flat(F.pad(target, (0, spare), value=fill))
