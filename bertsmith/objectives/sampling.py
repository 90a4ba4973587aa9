"""Drawing a token from scores over a vocabulary, given one random number."""

import torch
import torch.nn.functional as F
from torch import Tensor

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
