"""Dropout's statistics. Seeds are fixed, so a band that holds once holds always."""

import pytest
import torch

from bertsmith.encoders.dropout import Dropout, dropout

NUM_ELEMENTS = 1_000_003  # no multiple of the four that share a draw
BAND = 3.29  # standard deviations on each side that hold 99.9 %


@pytest.mark.parametrize("prob", [0.001, 0.1, 0.5, 0.9])
def test_the_share_that_is_kept_and_the_expectation(prob):
    torch.manual_seed(0)
    x = torch.ones(NUM_ELEMENTS)
    y = dropout(x, prob)
    kept = y != 0
    deviation = (prob * (1 - prob)) ** 0.5
    assert abs(kept.double().mean() - (1 - prob)) < BAND * deviation / NUM_ELEMENTS**0.5
    for lane in range(4):  # places within a draw
        share = kept[lane::4].double()
        assert abs(share.mean() - (1 - prob)) < BAND * deviation / len(share) ** 0.5
    scale = 1 / (1 - prob)
    torch.testing.assert_close(y[kept], torch.full((int(kept.sum()),), scale), rtol=2**-14 * scale, atol=0)
    assert abs(y.double().mean() - 1) < BAND * deviation * scale / NUM_ELEMENTS**0.5


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_neighbours_are_dropped_independently(distance):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(NUM_ELEMENTS), 0.3) == 0
    both = (dropped[distance:] & dropped[:-distance]).double().mean()
    assert abs(both - 0.09) < BAND * (0.09 * 0.91) ** 0.5 / NUM_ELEMENTS**0.5


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    x = torch.randn(7, 11, 5, requires_grad=True)
    y = dropout(x, 0.4)
    upstream = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    kept = y != 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(gradient != 0, kept)
    torch.testing.assert_close(gradient / upstream, y.detach() / x.detach())


def test_draws_follow_torchs_generator():
    x = torch.ones(1000)
    torch.manual_seed(5)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(5)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_nothing_is_drawn_where_nothing_is_dropped():
    x = torch.randn(10)
    before = torch.random.get_rng_state()
    assert dropout(x, 0.0) is x
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(Dropout(0.5)(x), x)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_any_shape_and_type(shape, dtype):
    y = dropout(torch.ones(shape, dtype=dtype), 0.25)
    assert y.shape == shape
    assert y.dtype == dtype
    assert ((y == 0) | ((y - 4 / 3).abs() < 0.01)).all()


def test_the_order_in_memory_does_not_matter():
    x = torch.randn(6, 8)
    torch.manual_seed(1)
    expected = dropout(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(x.t().contiguous().t(), 0.5), expected)
