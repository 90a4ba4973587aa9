"""Passes recorded as CUDA graphs: the host then launches one thing a pass instead of thousands.

On an H100, ELECTRA-small on 128 rows of 128 tokens: its 1,700 kernels take 74 ms launched one by one, 15 ms replayed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.console.terminal import say
from bertsmith.errors import one_line
from bertsmith.objectives.objective import Batch, Losses

BatchShape = tuple[Any, ...]
"""Of a batch: its task, and its tensors' names and sizes."""
Denominators = Mapping[str, float | Tensor]

RUNS_BEFORE = 2
"""Runs of a shape before it is recorded: they compile it, and load what it needs."""
MAX_RECORDINGS = 16
"""Shapes recorded; pre-training has one at a time, fine-tuning one for each length."""


class CudaGraphRunner:
    """A runner of an objective that records its passes over batches whose shape comes again.

    What a graph reads and writes stays where it is: so gradients are set to zero instead of being given up, and each
    recording has inputs of its own, into which batches are copied. Random numbers follow torch's seed as if it were not
    there.
    """

    def __init__(self, objective: nn.Module, run: Callable[[Batch, Denominators], Losses]):
        """Run `run`, which adds to the gradients of `objective` and takes a batch on the host or the device."""
        self.run_eagerly = run
        self.parameters = list(objective.parameters())
        self.failed = False
        self.forget()

    def forget(self) -> None:
        """Give up all recordings, and with them their memory."""
        self.runs: Counter[BatchShape] = Counter()
        self.recordings: dict[BatchShape, _Recording] = {}
        self.parameters_with_gradients: list[nn.Parameter] = []
        self.gradients: list[Tensor] = []
        self.pool: Any = None

    def zero_gradients(self) -> None:
        """Set gradients to zero; remove them before anything is recorded."""
        if not self.gradients:
            for parameter in self.parameters:
                parameter.grad = None
            return
        for parameter, gradient in zip(self.parameters_with_gradients, self.gradients, strict=True):
            parameter.grad = gradient
        torch._foreach_zero_(self.gradients)

    def run(self, batch: Batch, denominators: Mapping[str, float]) -> Losses:
        """Run `batch`, which is on the host, in pinned memory."""
        shape = (batch.task, *((name, *tensor.shape) for name, tensor in batch.tensors().items()))
        if recording := self.recordings.get(shape):
            return recording.replay(batch, denominators)
        self.runs[shape] += 1
        wanted = self.runs[shape] > RUNS_BEFORE and len(self.recordings) < MAX_RECORDINGS
        if wanted and not self.failed and self._record(shape, batch, denominators):
            return self.recordings[shape].replay(batch, denominators)
        losses = self.run_eagerly(batch, denominators)
        if not self.gradients:
            self.parameters_with_gradients = [parameter for parameter in self.parameters if parameter.grad is not None]
        return losses

    def _record(self, shape: BatchShape, batch: Batch, denominators: Mapping[str, float]) -> bool:
        if not self.gradients:
            for parameter in self.parameters_with_gradients:  # a gradient that is made inside a graph belongs to it
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients = (parameter.grad for parameter in self.parameters_with_gradients)
            self.gradients = [gradient for gradient in gradients if gradient is not None]
            self.pool = torch.cuda.graph_pool_handle()
        device = self.gradients[0].device
        random_state = torch.cuda.get_rng_state(device)
        try:
            self.recordings[shape] = _Recording(self.run_eagerly, batch.to(device), denominators, self.pool)
        except RuntimeError as error:
            self.failed = True
            say(f"steps are not recorded as CUDA graphs, which would be faster: {one_line(error)}", error=True)
        torch.cuda.set_rng_state(random_state, device)
        return not self.failed


class _Recording:
    """A pass over batches of one shape."""

    def __init__(
        self, run: Callable[[Batch, Denominators], Losses], batch: Batch, denominators: Mapping[str, float], pool: Any
    ):
        self.inputs = batch.tensors()
        self.denominators = torch.tensor(list(denominators.values()), device=batch.tokens.ids.device)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads may go on: the one that makes batches stays on the host.
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            losses = run(batch, dict(zip(denominators, self.denominators.unbind(), strict=True)))
            self.names = list(losses.sums)
            counted = [self._tensor(losses.counts[name]) for name in self.names]
            self.sums_and_counts = torch.stack([*losses.sums.values(), *counted])

    def _tensor(self, count: Tensor | float) -> Tensor:
        return count.float() if isinstance(count, Tensor) else self.denominators.new_full((), count)

    def replay(self, batch: Batch, denominators: Mapping[str, float]) -> Losses:
        for name, tensor in batch.tensors().items():
            self.inputs[name].copy_(tensor, non_blocking=True)
        self.denominators.copy_(torch.tensor(list(denominators.values()), pin_memory=True), non_blocking=True)
        self.graph.replay()
        sums, counted = self.sums_and_counts.clone().view(2, -1)
        return Losses(
            dict(zip(self.names, sums.unbind(), strict=True)), dict(zip(self.names, counted.unbind(), strict=True))
        )
