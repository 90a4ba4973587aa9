"""Cross-entropy over a large vocabulary without keeping its scores."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.objectives.sampling import find, sample

ROWS_AT_ONCE, ROWS_AT_ONCE_ON_A_GPU = 1024, 2048
"""Scores of so many rows exist at a time: 120 MB for 30,000 words. Fewer would make the products thin, and slow."""


def rows_at_once(device: torch.device) -> int:
    return ROWS_AT_ONCE_ON_A_GPU if device.type == "cuda" else ROWS_AT_ONCE


class Questions(NamedTuple):
    """What is asked of the scores of M places."""

    labels: Tensor
    """[M] int64, below V."""
    weights: Tensor
    """[M] float32, of each place in the loss."""
    draws: Tensor | None = None
    """[M] float32, uniform in [0, 1); given, a token is drawn for each. See `sample`."""
    likeliest: bool = False
    """Whether to look for the tokens with the highest scores."""

    def of(self, rows: slice) -> "Questions":
        draws = None if self.draws is None else self.draws[rows]
        return Questions(self.labels[rows], self.weights[rows], draws, self.likeliest)


class Predicted(NamedTuple):
    """What becomes of the scores of M places."""

    loss: Tensor
    """The weighted sum of −log softmax(scores) at the labels, in nats; float32."""
    normalizers: Tensor
    """[M] float32, log Σ exp(scores)."""
    likeliest: Tensor | None
    """[M] int64, if asked for."""
    drawn: Tensor | None
    """[M] int64, if there were draws."""


class Piece(NamedTuple):
    """`Predicted` of some rows, and the gradients of their loss: for the scores [R, V] and for the bias [V]."""

    predicted: Predicted
    for_scores: Tensor | None
    for_bias: Tensor | None


class VocabularyCrossEntropy(nn.Module):
    """The loss over a vocabulary, and what else is to be known of its scores before they are gone.

    Gradients are made in the forward pass, while the scores are there. torch's own functions keep the scores, their
    logarithms and their gradients at once, [M, V] each, when all activations are still held.

    `forward` is what happens to some rows of scores. Compiled for a GPU it makes no copy of them in float32
    (ELECTRA-small, 1,024 × 128 on an H100: 7 ms instead of 28); otherwise it works in their place.
    """

    def __init__(self, temperature: float = 1.0, disallow_correct: bool = False):
        """How tokens are drawn; see `sample`."""
        super().__init__()
        self.temperature = temperature
        self.disallow_correct = disallow_correct

    def predict(self, vectors: Tensor, table: Tensor, bias: Tensor, questions: Questions) -> Predicted:
        """Of the scores vectors · tableᵀ + bias: `vectors` [M, E], the vocabulary's `table` [V, E] and `bias` [V]."""
        return Predicted(*_InPieces.apply(self, vectors, table, bias, questions))

    def forward(self, scores: Tensor, bias: Tensor, questions: Questions, learns: bool) -> Piece:
        """`scores` [R, V] are without their `bias` [V]; whether it `learns` says whether gradients are wanted."""
        if torch.compiler.is_compiling():
            return self._fused(scores, bias, questions)
        return self._in_place(scores, bias, questions, learns)

    def _in_place(self, scores: Tensor, bias: Tensor, questions: Questions, learns: bool) -> Piece:
        formats = scores.dtype  # half where autocast says so
        label, weight = questions.labels[:, None], questions.weights[:, None]
        scores = scores.float().add_(bias)
        likeliest = scores.argmax(dim=1) if questions.likeliest else None
        drawn = None if questions.draws is None else self._draw(scores, questions)
        top = scores.amax(dim=1, keepdim=True)
        score = scores.sub_(top).gather(1, label)
        sums = scores.exp_().sum(dim=1, keepdim=True)
        logarithms = sums.log()
        loss = ((logarithms - score) * weight).sum()
        predicted = Predicted(loss, (logarithms + top)[:, 0], likeliest, drawn)
        if not learns:
            return Piece(predicted, None, None)
        # From here on `scores` holds the loss's gradient for the scores: (softmax − one-hot) · weight.
        scores.mul_(weight / sums).scatter_add_(1, label, -weight)
        return Piece(predicted, scores.to(formats), scores.sum(dim=0))

    def _fused(self, scores: Tensor, bias: Tensor, questions: Questions) -> Piece:
        label, weight = questions.labels[:, None], questions.weights[:, None]
        exact = scores.float() + bias
        top = exact.amax(dim=1, keepdim=True)
        powers = (exact - top).exp()
        sums = powers.sum(dim=1, keepdim=True)
        probabilities = powers / sums
        chosen = torch.arange(exact.shape[1], device=exact.device) == label  # [R, V]
        normalizer = sums.log() + top
        loss = ((normalizer - torch.where(chosen, exact, 0.0).sum(dim=1, keepdim=True)) * weight).sum()
        drawn = None
        if questions.draws is not None:
            plainly = self.temperature == 1.0 and not self.disallow_correct
            drawn = find(probabilities, questions.draws) if plainly else self._draw(exact, questions)
        likeliest = exact.argmax(dim=1) if questions.likeliest else None
        gradient = (probabilities - chosen.float()) * weight
        predicted = Predicted(loss, normalizer[:, 0], likeliest, drawn)
        return Piece(predicted, gradient.to(scores.dtype), gradient.sum(dim=0))

    def _draw(self, scores: Tensor, questions: Questions) -> Tensor:
        return sample(scores, questions.draws, questions.labels, self.temperature, self.disallow_correct)


class _InPieces(torch.autograd.Function):
    """Some rows after the others, so that the scores of all are never there at once."""

    @staticmethod
    def forward(
        ctx, piece_of: VocabularyCrossEntropy, vectors: Tensor, table: Tensor, bias: Tensor, questions: Questions
    ) -> tuple[Tensor | None, ...]:
        learns = any(ctx.needs_input_grad)
        for_vectors, for_table, for_bias = torch.empty_like(vectors), torch.zeros_like(table), torch.zeros_like(bias)
        kind = vectors.device.type
        formats = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else vectors.dtype
        vectors, table = vectors.to(formats), table.to(formats)
        pieces = []
        for rows in _cut(len(vectors), rows_at_once(vectors.device)):
            piece = piece_of(vectors[rows] @ table.t(), bias, questions.of(rows), learns)
            if learns:
                for_vectors[rows] = piece.for_scores @ table
                for_table += piece.for_scores.t() @ vectors[rows]
                for_bias += piece.for_bias
            pieces.append(piece.predicted)
        ctx.save_for_backward(for_vectors, for_table, for_bias)
        losses, *found = zip(*pieces, strict=True)
        found = [None if parts[0] is None else torch.cat(parts) for parts in found]
        ctx.mark_non_differentiable(*(part for part in found if part is not None))
        return torch.stack(losses).sum(), *found

    @staticmethod
    def backward(ctx, gradient: Tensor, *_: None) -> tuple:
        return None, *(gradient * part for part in ctx.saved_tensors), None


def _cut(count: int, most: int) -> list[slice]:
    """At most `most` of `count` rows at a time; all the same number where that takes few more pieces, so that they
    compile once."""
    least = max(1, -(-count // most))
    pieces = next((pieces for pieces in range(least, 2 * least) if count % pieces == 0), least)
    size = max(1, -(-count // pieces))
    return [slice(start, start + size) for start in range(0, max(1, count), size)]
