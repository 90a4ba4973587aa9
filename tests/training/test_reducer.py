"""Gradients are sent while the backward pass is still at work, and dropout is each rank's own."""

import torch
from torch import nn

from bertsmith.training.ranks import Ranks
from bertsmith.training.reducer import GradientReducer


class TwoAlike:
    """Two ranks with the same rows: a sum over them is twice the one's. Notes whether the first layer has its gradient
    already when another one is sent."""

    def __init__(self, first: nn.Linear):
        self.first, self.sent_before_first = first, []

    def sum_of(self, tensor: torch.Tensor) -> None:
        self.sent_before_first.append(self.first.weight.grad is None)
        tensor.mul_(2)

    def finished(self, work: None) -> None:
        pass


def reduced(overlaps: bool) -> tuple[list[bool], list[float]]:
    """Return, for each of the parameters as they are sent, whether the first layer's gradient was still to come; and
    the gradients of 3 · 2 · x at x = 5 by 2 and by 3, over both ranks."""
    layers = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        layers[0].weight.fill_(2.0)
        layers[1].weight.fill_(3.0)
    ranks = TwoAlike(layers[0])
    reducer = GradientReducer(layers, ranks, bucket_bytes=1)
    if overlaps:
        reducer.overlap()
    layers(torch.tensor([5.0])).backward()
    reducer.finish()
    return ranks.sent_before_first, [layer.weight.grad.item() for layer in layers]


def test_the_last_layer_s_gradient_is_sent_before_the_first_one_s_is_there():
    assert reduced(overlaps=True) == ([True, False], [2 * 3 * 5.0, 2 * 2 * 5.0])
    assert reduced(overlaps=False) == ([False, False], [2 * 3 * 5.0, 2 * 2 * 5.0])


def test_dropout_is_another_on_each_rank_and_step_and_the_first_s_is_that_of_one_process():
    seeds = {rank: Ranks(rank, 4).dropout_seed(7, 3) for rank in range(4)}
    assert len({*seeds.values(), Ranks(1, 4).dropout_seed(7, 4)}) == 5
    assert seeds[0] == Ranks().dropout_seed(7, 3) and seeds[1] == Ranks(1, 2).dropout_seed(7, 3)
