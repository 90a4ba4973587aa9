"""Gradients summed over ranks, while the backward pass is still at work on earlier layers."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.training.ranks import Ranks

BUCKET_BYTES = 16 << 20
"""Gradients sent at once: large enough that a network is at its full rate, small enough that it begins early."""


class GradientReducer:
    """Sums the gradients of a module over ranks, a bucket of parameters at a time.

    `overlap` before the last backward pass of a step sends each bucket as soon as its gradients are there; `finish`
    sends the rest and waits. Buckets go out in the same order on all ranks, whatever a rank met in its pass: so those
    that ran out of memory do not leave the others waiting.
    """

    def __init__(self, module: nn.Module, ranks: Ranks, bucket_bytes: int = BUCKET_BYTES):
        self.ranks = ranks
        self.buckets = _buckets(module, bucket_bytes)
        self.bucket_of: dict[Tensor, int] = {
            parameter: number for number, bucket in enumerate(self.buckets) for parameter in bucket
        }
        # Made once: a rank whose memory has run out still sends what the others wait for.
        self.flat = [torch.cat([torch.zeros_like(each).flatten() for each in bucket]) for bucket in self.buckets]
        self.overlaps = False
        self._start()
        for parameter in self.bucket_of:
            parameter.register_post_accumulate_grad_hook(self._add)  # type: ignore[no-untyped-call]

    def _start(self) -> None:
        self.missing = [len(bucket) for bucket in self.buckets]
        self.sent: list[Any] = []

    def overlap(self) -> None:
        """Send gradients from now on as they come: the next backward pass is the step's last."""
        self.overlaps = True

    def finish(self) -> None:
        """Return when the gradients are the sums of all ranks'. A parameter without a gradient stays without."""
        self.overlaps = False
        while len(self.sent) < len(self.buckets):
            self._send()
        for number, work in enumerate(self.sent):
            self.ranks.finished(work)
            pairs = [(each.grad, part) for each, part in self._parts(number) if each.grad is not None]
            torch._foreach_copy_([gradient for gradient, _ in pairs], [part for _, part in pairs])
        self._start()

    def _add(self, parameter: Tensor) -> None:
        if not self.overlaps:
            return
        self.missing[self.bucket_of[parameter]] -= 1
        while len(self.sent) < len(self.buckets) and not self.missing[len(self.sent)]:
            self._send()

    def _send(self) -> None:
        number = len(self.sent)
        pairs = [(each.grad, part) for each, part in self._parts(number) if each.grad is not None]
        if len(pairs) < len(self.buckets[number]):
            self.flat[number].zero_()
        torch._foreach_copy_([part for _, part in pairs], [gradient for gradient, _ in pairs])
        self.sent.append(self.ranks.sum_of(self.flat[number]))

    def _parts(self, number: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield the parameters of a bucket, each with its part of what is sent."""
        sizes = [parameter.numel() for parameter in self.buckets[number]]
        for parameter, part in zip(self.buckets[number], torch.split(self.flat[number], sizes), strict=True):
            yield parameter, part.view_as(parameter)


def _buckets(module: nn.Module, max_bytes: int) -> list[list[nn.Parameter]]:
    """Return the parameters in groups of one format, in about the order in which the backward pass comes to them: the
    last first."""
    buckets: list[list[nn.Parameter]] = []
    held = 0
    for parameter in reversed(list(_trained(module.parameters()))):
        size = parameter.numel() * parameter.element_size()
        if not buckets or held + size > max_bytes or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            held = 0
        buckets[-1].append(parameter)
        held += size
    return buckets


def _trained(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]
