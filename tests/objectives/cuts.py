"""A law of every objective: how a batch is cut into micro-batches, and whether they are padded, changes nothing."""

import pytest
import torch

from bertsmith.objectives.objective import Batch

CUTS = ((1, False), (4, False), (6, True), (2, True))
"""(rows at once, padded)."""


def check_cuts(model: torch.nn.Module, asked: Batch, apart: tuple[str, ...] = ()) -> None:
    """`model` has no dropout; the measures named in `apart` may differ."""
    whole, whole_gradient = _run(model, asked, asked.tokens.num_rows, pad=False)
    for rows, pad in CUTS:
        means, gradient = _run(model, asked, rows, pad)
        for name in whole.keys() - set(apart):
            assert means[name] == pytest.approx(whole[name], rel=1e-5, nan_ok=True), name
        assert (gradient - whole_gradient).norm() < 1e-5 * whole_gradient.norm()


def _run(model: torch.nn.Module, asked: Batch, rows: int, pad: bool) -> tuple[dict[str, float], torch.Tensor]:
    model.zero_grad()
    counts, losses = model.counts(asked), None
    for part in asked.split(rows):
        found = model.losses(part.padded(asked.tokens.max_seqlen, 0) if pad else part)
        model.total(found, counts).backward()
        losses = found.detach() if losses is None else losses + found.detach()
    return losses.means(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
