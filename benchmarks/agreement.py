"""Does a device compute what the CPU does, and does a run on it compile once? Checks for `benchmarks.gpu`.

A check returns its figures, with "passed" among them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contestants import Bertsmith, Network
from bertsmith.encoders.attention import attend
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch
from bertsmith.text.segments import PackedRows
from bertsmith.training.cuda_graphs import RUNS_BEFORE
from bertsmith.training.loop import Event, State, TrainContext, fit
from bertsmith.training.machine import Machine
from bertsmith.training.runner import Runner, held_out_losses
from bertsmith.training.schedules import Plan, PolynomialSettings

LIMITS = {torch.float32: (1e-4, 2e-3), torch.bfloat16: (1e-2, 2e-2)}
"""Relative differences of losses, and of all gradients together. The device's tokens are padded and the CPU's packed,
so that sums run in other orders."""
CHECKED_VOCAB_SIZE = 1300
"""Few tokens: the generator then draws the same ones on both sides, though its scores differ in their last bits."""


def uneven_rows(network: Network, rows: int, seed: int) -> PackedRows:
    """Rows of 5 tokens to `length`, one of them full."""
    rng = np.random.default_rng(seed)
    lengths = np.append(rng.integers(5, network.length + 1, rows - 1), network.length)
    ids = rng.integers(1000, network.vocab_size, lengths.sum())
    return PackedRows(ids, rng.integers(0, 2, lengths.sum()), lengths)


def kernels_agree(device: torch.device) -> dict[str, Any]:
    """Attention with rows as they lie (varlen) against the grid, in bfloat16, and both against the CPU in float32."""
    network = Network(256, 1)
    packed = Tokens.pack(*uneven_rows(network, 8, seed=0))
    padded = packed.padded(network.length, pad_id=0)
    real = padded.valid_mask()
    rng = torch.Generator().manual_seed(0)
    exact = [torch.randn(packed.num_tokens, 4, 64, generator=rng) for _ in range(4)]
    wanted = _attended(*exact, packed)
    spread = [part.new_zeros(padded.num_tokens, 4, 64).masked_scatter(real[:, None, None], part) for part in exact]
    rough = [part.to(device, torch.bfloat16) for part in spread]
    # A dropout of nearly nothing asks for the grid.
    by_rows, by_grid = (_attended(*rough, padded.to(device), prob) for prob in (0.0, 1e-9))
    figures = {
        f"{name}, {what}": max(_difference(ours.float().cpu()[real], theirs) for ours, theirs in pairs)
        for name, results in (("by rows", by_rows), ("by grid", by_grid))
        for what, pairs in (
            ("result", [(results[0], wanted[0])]),
            ("gradients", list(zip(results[1:], wanted[1:], strict=True))),
        )
    }
    return {"passed": max(figures.values()) < 0.02, **figures}


def _attended(query: Tensor, key: Tensor, value: Tensor, upstream: Tensor, tokens: Tokens, prob: float = 0.0) -> list:
    inputs = [part.detach().requires_grad_() for part in (query, key, value)]
    mixed = attend(*inputs, tokens, prob)
    return [mixed.detach(), *torch.autograd.grad(mixed, inputs, upstream)]


def losses_agree(network: Network, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The same weights and the same masked rows on the CPU in float32, and on `device` in `dtype`. In bfloat16 the
    layers are compiled on a GPU, as in training, and what is compared is a recorded step."""
    network = replace(network, dropout_prob=0.0, vocab_size=CHECKED_VOCAB_SIZE)
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    ours = Bertsmith(network, 1, "cpu", False)
    objective = ours.objective
    batch = ours.make_batch(uneven_rows(network, 16, seed=1), np.random.default_rng(0))
    expected, expected_gradients = _run(ours.runner, batch, network.length)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if dtype == torch.float32 else "high")
    try:
        runner = Runner(objective, Machine(device, dtype, cuda and dtype == torch.bfloat16, None))
        found, found_gradients = _run(runner, batch, network.length)
        recorded = runner.cuda_graphs is None or len(runner.cuda_graphs.recordings) == 1
    finally:
        torch.set_float32_matmul_precision(precision)
    figures = {
        f"{name}, relative difference": abs(found[name] / expected[name] - 1)
        for name in expected
        if name.endswith("_loss")
    }
    gradients = _difference(found_gradients, expected_gradients)
    for_losses, for_gradients = LIMITS[dtype]
    passed = max(figures.values()) < for_losses and gradients < for_gradients and recorded
    return {"passed": passed, **figures, "gradients, relative difference": gradients}


def _run(runner: Runner, batch: Batch, length: int) -> tuple[dict[str, float], Tensor]:
    """Mean losses, and all gradients as one vector on the CPU, of a step that is recorded where steps are."""
    for _ in range(1 if runner.cuda_graphs is None else RUNS_BEFORE + 1):
        losses = runner.gradients(runner.prepare(batch, length))
    gradients = torch.cat([parameter.grad.flatten().cpu() for parameter in runner.objective.parameters()])
    return losses.means(), gradients


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((ours - theirs).norm() / theirs.norm())


def compiles_once(network: Network, rows: int, device: torch.device) -> dict[str, Any]:
    """Graphs compiled by a run's first step, and by all that follows: batches of other rows, and evaluations whose last
    batch is smaller. On the CPU, where rows are packed and shapes follow them, all rows are full, and graphs are made
    but no code of them."""
    from torch._dynamo.utils import counters  # slow to import

    ours = Bertsmith(network, rows, str(device), True)

    def batch(rows: int, number: int) -> Batch:
        if device.type == "cpu":
            packed = *(part.ravel() for part in network.random_rows(rows)), np.full(rows, network.length)
        else:
            packed = uneven_rows(network, rows, seed=number)
        return ours.make_batch(packed, np.random.default_rng(number))

    def batches() -> Iterator[tuple[Batch, tuple[int, ...]]]:
        for number in range(100):
            yield batch(rows, number), (number,)

    held_out = [batch(rows, 100), batch(rows - rows // 4, 101)]
    before = counters["stats"]["unique_graphs"]
    graphs = []
    events = [
        Event(1, lambda state, step: graphs.append(counters["stats"]["unique_graphs"] - before)),
        Event(2, lambda state, step: held_out_losses(ours.runner, held_out, network.length)),
    ]
    context = TrainContext(
        ours.optimizer, PolynomialSettings(), Plan(steps=5), clip_norm=1.0, length=network.length, seed=0
    )
    with torch.compiler.set_stance("default", force_backend="eager" if device.type == "cpu" else None):
        fit(ours.runner, batches(), context, events, State())
    return {"passed": graphs[0] == graphs[-1] > 0, "first step": graphs[0], "afterwards": graphs[-1] - graphs[0]}
