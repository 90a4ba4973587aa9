"""In which order a task's examples are trained on, and which of them share a batch."""

from collections.abc import Iterator
from itertools import count

import numpy as np

from bertsmith.objectives.objective import Batch
from bertsmith.randomness import generator
from bertsmith.tasks.lesson import Split

POOLED_BATCHES = 32
"""So many batches of training examples at a time are sorted by length."""


def batches(
    split: Split, batch_size: int, seed: int, similar_lengths: bool = False
) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Without end: every example once an epoch, in an order drawn for that epoch.

    `similar_lengths` sorts each POOLED_BATCHES batches' worth of examples by length, cuts them into batches and draws
    the order of these: a batch of short rows then needs little padding. Which examples share a pool is still chance.
    """
    for epoch in count():
        draw = generator(seed, "order", epoch)
        order = draw.permutation(len(split.lengths))
        if similar_lengths:
            pools = np.arange(len(order)) // (POOLED_BATCHES * batch_size)
            order = order[np.lexsort((split.lengths[order], pools))]
        cut = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
        for number, place in enumerate(draw.permutation(len(cut)) if similar_lengths else range(len(cut)), start=1):
            yield split.batch(cut[place]), (epoch, number)
