"""Against the plain way, torch's own linear layer and cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from bertsmith.objectives import cross_entropy
from bertsmith.objectives.cross_entropy import summed_cross_entropy


def draw(num_rows: int, vocab_size: int = 50, size: int = 8):
    generator = torch.Generator().manual_seed(0)
    vectors, table, bias = (
        torch.randn(*shape, generator=generator, requires_grad=True)
        for shape in ((num_rows, size), (vocab_size, size), (vocab_size,))
    )
    labels = torch.randint(vocab_size, (num_rows,), generator=generator)
    return vectors, table, bias, labels, torch.rand(num_rows, generator=generator)


def plainly(vectors, table, bias, labels, weights):
    return (F.cross_entropy(F.linear(vectors, table, bias).float(), labels, reduction="none") * weights).sum()


@pytest.mark.parametrize("rows_at_once", [1, 3, 7, 1024])
def test_loss_and_gradients(monkeypatch, rows_at_once):
    monkeypatch.setattr(cross_entropy, "ROWS_AT_ONCE", rows_at_once)
    arguments = draw(7)
    found, expected = summed_cross_entropy(*arguments), plainly(*arguments)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found * 3, arguments[:3])
    torch.testing.assert_close(gradients, torch.autograd.grad(expected * 3, arguments[:3]))


def test_half_precision_is_as_near_as_torchs_own():
    arguments = draw(64)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = summed_cross_entropy(*arguments), plainly(*arguments)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    exact = torch.autograd.grad(plainly(*arguments), arguments[:3])
    for gradient, theirs, ours in zip(
        exact, *(torch.autograd.grad(loss, arguments[:3]) for loss in (expected, found)), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - gradient).norm() <= 1.5 * (theirs - gradient).norm()


def test_scores_that_would_overflow():
    vectors, table, bias, labels, weights = draw(5)
    arguments = (vectors.detach() * 1e4, table, bias, labels, weights)
    assert summed_cross_entropy(*arguments).isfinite()
    torch.testing.assert_close(summed_cross_entropy(*arguments), plainly(*arguments))


def test_what_is_not_a_number_shows():
    vectors, table, bias, labels, weights = draw(5)
    with torch.no_grad():
        vectors[2, 0] = float("nan")
    assert summed_cross_entropy(vectors, table, bias, labels, weights).isnan()


def test_no_rows():
    vectors, table, bias, labels, weights = draw(0)
    loss = summed_cross_entropy(vectors, table, bias, labels, weights)
    assert loss == 0.0
    assert all(torch.count_nonzero(part) == 0 for part in torch.autograd.grad(loss, (vectors, table, bias)))
