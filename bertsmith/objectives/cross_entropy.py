"""Cross-entropy over a large vocabulary without keeping its scores, and tokens sampled from them."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 256
"""Words whose probabilities are added up first: then two short searches find what one long cumulated sum would."""


def sample(
    scores: Tensor, draws: Tensor, labels: Tensor, temperature: float = 1.0, disallow_correct: bool = False
) -> Tensor:
    """Return a token for each of M positions, distributed as softmax(scores / temperature): [M] int64.

    Args:
        scores: [M, V] float32.
        draws: [M] float32, uniform in [0, 1): how far along the cumulated probabilities the token lies. One number a
            place, drawn on the host, makes the sample the same however a batch is cut. The reference takes the greatest
            of the scores plus Gumbel noise, V random numbers a place, which has the same distribution.
        labels: [M] int64, the original tokens.
        temperature: divides the scores.
        disallow_correct: never draw the original token.
    """
    if disallow_correct:
        scores = scores.masked_fill(torch.arange(scores.shape[1], device=scores.device) == labels[:, None], -torch.inf)
    scores = scores / temperature if temperature != 1.0 else scores
    return find(scores.softmax(dim=1), draws)


def find(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Return where the `draws` [M] fall in the cumulated `probabilities` [M, V]: [M] int64."""
    # Whole numbers add up the same in any order: a GPU may sum them as it likes and stays deterministic.
    integers = (probabilities * 2.0**30).int()
    num_blocks = -(-integers.shape[1] // BLOCK)
    integers = F.pad(integers, (0, num_blocks * BLOCK - integers.shape[1])).view(len(integers), num_blocks, BLOCK)
    blocks = integers.sum(dim=2, dtype=torch.int32)
    cumulated = blocks.cumsum(dim=1, dtype=torch.int32)
    wanted = (draws[:, None].double() * cumulated[:, -1:]).int()
    block = torch.searchsorted(cumulated, wanted, right=True).clamp_(max=num_blocks - 1)  # beyond: not numbers
    rest = wanted - cumulated.gather(1, block) + blocks.gather(1, block)
    within = integers.gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0].cumsum(dim=1, dtype=torch.int32)
    found = torch.searchsorted(within, rest, right=True) + BLOCK * block
    return found[:, 0].clamp_(max=probabilities.shape[1] - 1)


def sample_uniformly(draws: Tensor, labels: Tensor, vocab_size: int, disallow_correct: bool) -> Tensor:
    """Return a token for each position, all equally likely: [M] int64."""
    if not disallow_correct:
        return (draws * vocab_size).long().clamp_(max=vocab_size - 1)
    others = (draws * (vocab_size - 1)).long().clamp_(max=vocab_size - 2)
    return others + (others >= labels)


CHUNK_ROWS, GPU_CHUNK_ROWS = 1024, 2048
"""Scores of so many rows exist at a time: 120 MB for 30,000 words. Fewer would make the products thin, and slow."""


def chunk_rows(device: torch.device) -> int:
    return GPU_CHUNK_ROWS if device.type == "cuda" else CHUNK_ROWS


class TokenTargets(NamedTuple):
    """The targets of M positions, and which further results of their scores are wanted."""

    labels: Tensor
    """[M] int64, below V."""
    weights: Tensor
    """[M] float32, each position's weight in the loss."""
    draws: Tensor | None = None
    """[M] float32, uniform in [0, 1); given, a token is sampled for each. See `sample`."""
    likeliest: bool = False
    """Whether to look for the tokens with the highest scores."""

    def of(self, rows: slice) -> "TokenTargets":
        draws = None if self.draws is None else self.draws[rows]
        return TokenTargets(self.labels[rows], self.weights[rows], draws, self.likeliest)


class LossOutput(NamedTuple):
    """The loss of M positions, and further results of their scores."""

    loss: Tensor
    """The weighted sum of −log softmax(scores) at the labels, in nats; float32."""
    normalizers: Tensor
    """[M] float32, log Σ exp(scores)."""
    likeliest: Tensor | None
    """[M] int64, if asked for."""
    sampled: Tensor | None
    """[M] int64, if there were draws."""


class Chunk(NamedTuple):
    """`LossOutput` of some rows, and the gradients of their loss: for the scores [R, V] and for the bias [V]."""

    output: LossOutput
    for_scores: Tensor | None
    for_bias: Tensor | None


class VocabularyCrossEntropy(nn.Module):
    """Cross-entropy over a vocabulary, with further results of its scores, which are not kept.

    Gradients are made in the forward pass, while the scores are there. torch's own functions keep the scores, their
    logarithms and their gradients at once, [M, V] each, when all activations are still held.

    `forward` is what happens to some rows of scores. Compiled for a GPU it makes no copy of them in float32
    (ELECTRA-small, 1,024 × 128 on an H100: 7 ms instead of 28); otherwise it works in their place.
    """

    def __init__(self, temperature: float = 1.0, disallow_correct: bool = False):
        """Set how tokens are sampled; see `sample`."""
        super().__init__()
        self.temperature = temperature
        self.disallow_correct = disallow_correct

    def predict(self, vectors: Tensor, table: Tensor, bias: Tensor, targets: TokenTargets) -> LossOutput:
        """Return the loss of the scores vectors · tableᵀ + bias: `vectors` [M, E], the vocabulary's `table` [V, E] and
        `bias` [V]."""
        return LossOutput(*_InChunks.apply(self, vectors, table, bias, targets))  # type: ignore[no-untyped-call]

    def forward(self, scores: Tensor, bias: Tensor, targets: TokenTargets, needs_grad: bool) -> Chunk:
        """Return the loss of `scores` [R, V] without their `bias` [V], and its gradients where `needs_grad`."""
        if torch.compiler.is_compiling():
            return self._fused(scores, bias, targets)
        return self._in_place(scores, bias, targets, needs_grad)

    def _in_place(self, scores: Tensor, bias: Tensor, targets: TokenTargets, needs_grad: bool) -> Chunk:
        dtype = scores.dtype  # half where autocast says so
        label, weight = targets.labels[:, None], targets.weights[:, None]
        scores = scores.float().add_(bias)
        likeliest = scores.argmax(dim=1) if targets.likeliest else None
        sampled = None if targets.draws is None else self._sample(scores, targets)
        top = scores.amax(dim=1, keepdim=True)
        score = scores.sub_(top).gather(1, label)
        sums = scores.exp_().sum(dim=1, keepdim=True)
        logarithms = sums.log()
        loss = ((logarithms - score) * weight).sum()
        predicted = LossOutput(loss, (logarithms + top)[:, 0], likeliest, sampled)
        if not needs_grad:
            return Chunk(predicted, None, None)
        # From here on `scores` holds the loss's gradient for the scores: (softmax − one-hot) · weight.
        scores.mul_(weight / sums).scatter_add_(1, label, -weight)
        return Chunk(predicted, scores.to(dtype), scores.sum(dim=0))

    def _fused(self, scores: Tensor, bias: Tensor, targets: TokenTargets) -> Chunk:
        label, weight = targets.labels[:, None], targets.weights[:, None]
        exact = scores.float() + bias
        top = exact.amax(dim=1, keepdim=True)
        powers = (exact - top).exp()
        sums = powers.sum(dim=1, keepdim=True)
        probabilities = powers / sums
        chosen = torch.arange(exact.shape[1], device=exact.device) == label  # [R, V]
        normalizer = sums.log() + top
        loss = ((normalizer - torch.where(chosen, exact, 0.0).sum(dim=1, keepdim=True)) * weight).sum()
        sampled = None
        if targets.draws is not None:
            is_plain = self.temperature == 1.0 and not self.disallow_correct
            sampled = find(probabilities, targets.draws) if is_plain else self._sample(exact, targets)
        likeliest = exact.argmax(dim=1) if targets.likeliest else None
        gradient = (probabilities - chosen.float()) * weight
        predicted = LossOutput(loss, normalizer[:, 0], likeliest, sampled)
        return Chunk(predicted, gradient.to(scores.dtype), gradient.sum(dim=0))

    def _sample(self, scores: Tensor, targets: TokenTargets) -> Tensor:
        assert targets.draws is not None
        return sample(scores, targets.draws, targets.labels, self.temperature, self.disallow_correct)


class _InChunks(torch.autograd.Function):
    """Cross-entropy a chunk of rows at a time, so that the scores of all never exist at once."""

    @staticmethod
    def forward(
        ctx: Any,
        cross_entropy: VocabularyCrossEntropy,
        vectors: Tensor,
        table: Tensor,
        bias: Tensor,
        targets: TokenTargets,
    ) -> tuple[Tensor | None, ...]:
        needs_grad = any(ctx.needs_input_grad)
        for_vectors, for_table, for_bias = torch.empty_like(vectors), torch.empty_like(table), torch.zeros_like(bias)
        device_type = vectors.device.type
        dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else vectors.dtype
        vectors, table = vectors.to(dtype), table.to(dtype)
        outputs: list[LossOutput] = []
        for rows in _cut(len(vectors), chunk_rows(vectors.device)):
            chunk = cross_entropy(vectors[rows] @ table.t(), bias, targets.of(rows), needs_grad)
            if needs_grad:
                for_vectors[rows] = chunk.for_scores @ table
                _add_product(for_table, chunk.for_scores.t(), vectors[rows], is_first=not outputs)
                for_bias += chunk.for_bias
            outputs.append(chunk.output)
        ctx.save_for_backward(for_vectors, for_table, for_bias)
        losses, *parts = zip(*outputs, strict=True)
        others = [None if of_chunks[0] is None else torch.cat(of_chunks) for of_chunks in parts]
        ctx.mark_non_differentiable(*(part for part in others if part is not None))
        return torch.stack(losses).sum(), *others

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        # In their place, as large as the table is; torch refuses a second pass over what was changed.
        return None, *(part.mul_(gradient) for part in ctx.saved_tensors), None


def _add_product(total: Tensor, first: Tensor, second: Tensor, is_first: bool) -> None:
    """Add `first` · `second` to `total`, which holds nothing yet where `is_first`."""
    if first.dtype == total.dtype:
        total.addmm_(first, second, beta=0.0 if is_first else 1.0)  # no copy as large as the table
    elif is_first:
        total.copy_(first @ second)
    else:
        total += first @ second


def _cut(count: int, max_rows: int) -> list[slice]:
    """Return slices of at most `max_rows` of `count` rows; all of one size where that takes few more of them, so that
    they compile once."""
    least = max(1, -(-count // max_rows))
    pieces = next((pieces for pieces in range(least, 2 * least) if count % pieces == 0), least)
    size = max(1, -(-count // pieces))
    return [slice(start, start + size) for start in range(0, max(1, count), size)]
