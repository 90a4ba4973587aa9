"""The objectives of question answering: encoder, head, loss, and the best spans of what the head says."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import JointAnswerHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.task import SupervisedObjective

NEVER = float("-inf")


class Scores(NamedTuple):
    """Scores of N rows of L places; `NEVER` where a place cannot be chosen."""

    starts: Tensor
    """[N, L]: logits, normalised to log-probabilities where the head is joint."""
    ends: Tensor | None
    """[N, L] logits; None where the head is joint."""
    vectors: Tensor  # [T, D]
    null_scores: Tensor | None
    """[N]: the greater, the less an answer is there; None where nothing says so."""


class Spans(NamedTuple):
    """The best K spans of each of N rows, the best first: tensors of a batch, or arrays of all windows."""

    starts: Any
    """[N, K] whole numbers, places in the row."""
    ends: Any
    """[N, K] whole numbers, the last place."""
    scores: Any
    """[N, K] float32; `NEVER` where the row has no more spans."""
    log_totals: Any = 0.0
    """[N] float32: what a score less this is the logarithm of a probability of, in its row."""
    null_scores: Any = None
    """[N] float32, of all windows: the greater, the less an answer is there; None where each question has one."""


def context_places(tokens: Tokens) -> Tensor:
    """Return [N, L]: whether a token is of the context, which is segment 1 without its [SEP]."""
    columns = torch.arange(tokens.max_seqlen, device=tokens.ids.device)
    return (tokens.to_padded(tokens.segment_ids) == 1) & (columns < tokens.row_lengths[:, None] - 1)


class Answering(SupervisedObjective):
    """An encoder with two logits a token: where the answer begins and where it ends, each by itself; the first place
    of the row, [CLS], where it is not in the row. The loss of a row is the mean of the two cross-entropies."""

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        settings: AnsweringSettings,
        may_have_none: bool = False,
        compat: bool = False,
    ):
        """Join an encoder and a `head` for answers; `may_have_none` says whether a question may be without an
        answer."""
        super().__init__(encoder, head, compat)
        self.settings = settings
        self.may_have_none = may_have_none

    def scores(self, tokens: Tokens) -> Scores:
        vectors = self.encoder(tokens)
        logits = self.head(vectors).unbind(dim=1)
        starts, ends = (self._choosable(tokens, tokens.to_padded(part)) for part in logits)
        return Scores(starts, ends, vectors, starts[:, 0] + ends[:, 0])

    def spans(self, scores: Scores, tokens: Tokens, may_begin: Tensor, top_k: int = 1) -> Spans:
        """Return exactly the best spans of the context that are not too long and whose first place is one of
        `may_begin`, [N, L] bool."""
        assert scores.ends is not None
        context = context_places(tokens)
        starts = scores.starts.masked_fill(~(may_begin & context), NEVER)
        ends, length = scores.ends.masked_fill(~context, NEVER), self.settings.answer_length
        ends = F.pad(ends, (0, length - 1), value=NEVER).unfold(1, length, 1)  # [N, L, A]: at a place and A - 1 after
        best = _best(starts[..., None] + ends, torch.arange(tokens.max_seqlen, device=starts.device), top_k)
        return best._replace(log_totals=scores.starts.logsumexp(dim=1) + scores.ends.logsumexp(dim=1))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": float(batch.tokens.num_rows)}

    def losses(self, batch: Batch) -> Losses:
        """Return `loss` in nats; the targets are "starts" and "ends" [N], places in the row."""
        scores = self.scores(batch.tokens)
        assert scores.ends is not None
        return self._losses(batch, scores.starts, scores.ends)

    def _choosable(self, tokens: Tokens, logits: Tensor) -> Tensor:
        """Return logits [N, L] as float32, `NEVER` but at the context and at [CLS]."""
        may = context_places(tokens)
        may[:, 0] = True
        return logits.float().masked_fill(~may, NEVER)

    def _losses(self, batch: Batch, starts: Tensor, ends: Tensor) -> Losses:
        loss_of_starts = F.cross_entropy(starts, batch.targets["starts"].long(), reduction="sum")
        loss_of_ends = F.cross_entropy(ends, batch.targets["ends"].long(), reduction="sum")
        return Losses({"loss": (loss_of_starts + loss_of_ends) / 2}, self.counts(batch))


class JointAnswering(Answering):
    """An encoder with a `JointAnswerHead`: the end is learnt at the answer's true beginning, and looked for at each of
    the likeliest ones. Where questions may be without an answer, "answerable_loss" is the cross-entropy of saying so.

    Source: google-research/electra, finetune/qa/qa_tasks.py.
    """

    head: JointAnswerHead

    def scores(self, tokens: Tokens) -> Scores:
        vectors = self.encoder(tokens)
        starts = self._choosable(tokens, tokens.to_padded(self.head.start_logits(vectors))).log_softmax(dim=1)
        return Scores(starts, None, vectors, self._null_scores(tokens, vectors, starts))

    def spans(self, scores: Scores, tokens: Tokens, may_begin: Tensor, top_k: int = 1) -> Spans:
        """Return spans as `Answering.spans` does, of the likeliest `beam_size` beginnings."""
        context, length = context_places(tokens), self.settings.answer_length
        starts = scores.starts.masked_fill(~(may_begin & context), NEVER)
        starts, places = starts.topk(min(self.settings.beam_size, tokens.max_seqlen), dim=1)  # [N, B]
        token_sums = tokens.to_padded(self.head.token_sums(scores.vectors))
        span_scores = []
        for start, place in zip(starts.unbind(dim=1), places.unbind(dim=1), strict=True):
            ends = self._ends(tokens, scores.vectors, token_sums, place).log_softmax(dim=1)
            ends = F.pad(ends.masked_fill(~context, NEVER), (0, length - 1), value=NEVER)
            near = place[:, None] + torch.arange(length, device=place.device)  # [N, A]
            span_scores.append(start[:, None] + ends.gather(1, near))
        return _best(torch.stack(span_scores, dim=1), places, top_k)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        names = ("loss", "answerable_loss") if self.may_have_none else ("loss",)
        return dict.fromkeys(names, float(batch.tokens.num_rows))

    def losses(self, batch: Batch) -> Losses:
        """Return losses as `Answering.losses` does; with "impossible" [N], 1 where the question has no answer."""
        tokens = batch.tokens
        scores = self.scores(tokens)
        token_sums = tokens.to_padded(self.head.token_sums(scores.vectors))
        ends = self._ends(tokens, scores.vectors, token_sums, batch.targets["starts"].long())
        losses = self._losses(batch, scores.starts, ends)
        if scores.null_scores is None:
            return losses
        impossible = batch.targets["impossible"].to(scores.null_scores.dtype)
        loss = F.binary_cross_entropy_with_logits(scores.null_scores, impossible, reduction="sum")
        return Losses({**losses.sums, "answerable_loss": loss}, losses.counts)

    def total(self, losses: Losses, denominators: Mapping[str, float | Tensor]) -> Tensor:
        total = super().total(losses, denominators)
        if not self.may_have_none:
            return total
        unsure = losses.sums["answerable_loss"]
        return total + self.settings.answerable_weight * (
            unsure if self.compat else unsure / denominators["answerable_loss"]
        )

    def _ends(self, tokens: Tokens, vectors: Tensor, token_sums: Tensor, places: Tensor) -> Tensor:
        """Return logits [N, L] of ends, where answers begin at these `places` [N] of their rows."""
        beginnings = vectors.index_select(0, tokens.row_starts + places)
        return self._choosable(tokens, self.head.end_logits(token_sums, beginnings))

    def _null_scores(self, tokens: Tokens, vectors: Tensor, starts: Tensor) -> Tensor | None:
        if not self.may_have_none:
            return None
        expected = torch.einsum("nl,nld->nd", starts.exp().to(vectors.dtype), tokens.to_padded(vectors))
        return self.head.null_logits(vectors.index_select(0, tokens.row_starts), expected).float()


def _best(scores: Tensor, places: Tensor, top_k: int) -> Spans:
    """Return the best spans of `scores` [N, B, A], of which [:, b, a] begins at `places` [N, B] or [B] and ends a
    behind."""
    num_rows, num_starts, length = scores.shape
    values, at = scores.reshape(num_rows, -1).topk(min(top_k, num_starts * length), dim=1)
    begin, offset = at // length, at % length
    starts = places.expand(num_rows, num_starts).gather(1, begin)
    return Spans(starts, starts + offset, values)
