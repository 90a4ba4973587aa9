"""Attention: held to its formula, one kernel to the other, and no token ever to see another row."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bertsmith.encoders.attention import attend
from bertsmith.encoders.bert import BertConfig, SelfAttention
from bertsmith.encoders.tokens import Tokens
from tests.toys import needs_cuda

HEADS, HEAD_SIZE = 3, 8
UNEVEN, EVEN = [5, 1, 9, 3], [4, 4, 4]


def pack(lengths: list[int]) -> Tokens:
    return Tokens.pack(np.ones(sum(lengths)), np.zeros(sum(lengths)), np.array(lengths))


def draw(num_tokens: int, seed: int = 0, **options) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, [T, H, K] each."""
    generator = torch.Generator().manual_seed(seed)
    parts = (torch.randn(num_tokens, HEADS, HEAD_SIZE, generator=generator) for _ in range(3))
    return tuple(part.to(**options).requires_grad_() for part in parts)


def by_formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    window: tuple[int, int] = (-1, -1),
    bias: Tensor | None = None,
) -> Tensor:
    """softmax(Q Kᵀ / √K + bias) V, row by row, each query with the keys within its window."""
    mixed = []
    for q, k, v in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True):
        scores = torch.einsum("qhk,shk->hqs", q, k) / HEAD_SIZE**0.5
        if bias is not None:
            scores = scores + bias[:, : len(q), : len(q)]
        for place in range(len(q)):
            for other in range(len(q)):
                if place - other > window[0] >= 0 or other - place > window[1] >= 0:
                    scores[:, place, other] = float("-inf")
        mixed.append(torch.einsum("hqs,shk->qhk", scores.softmax(dim=-1), v))
    return torch.cat(mixed)


def spread(flat: Tensor, lengths: list[int], length: int, filler: float) -> Tensor:
    """The flat tensor of a padded batch, with `filler` at the padding."""
    rows = [torch.cat([row, torch.full((length - len(row), *row.shape[1:]), filler)]) for row in flat.split(lengths)]
    return torch.cat(rows)


@pytest.mark.parametrize("lengths", [UNEVEN, EVEN, [1]], ids=str)
@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])  # with dropout the CPU does its own sums
def test_the_formula_and_its_gradients(lengths, dropout_prob):
    inputs = draw(sum(lengths), dtype=torch.float64)
    mixed, expected = attend(*inputs, pack(lengths), dropout_prob), by_formula(*inputs, lengths)
    torch.testing.assert_close(mixed, expected)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(mixed, inputs, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, upstream))


@pytest.mark.parametrize("short_row", [0, 256])  # torch's fused kernel, and plain products
@pytest.mark.parametrize("window", [(-1, -1), (2, 2)], ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
def test_in_bfloat16_too(monkeypatch, short_row, window, has_bias):
    monkeypatch.setattr("bertsmith.encoders.attention.SHORT_ROW", short_row)
    exact = draw(sum(UNEVEN), dtype=torch.float64)
    inputs = [part.detach().bfloat16().requires_grad_() for part in exact]
    bias = torch.randn(HEADS, 9, 9, dtype=torch.float64, generator=torch.manual_seed(1)) if has_bias else None
    given = None if bias is None else bias[None].expand(len(UNEVEN), -1, -1, -1).bfloat16()
    mixed = attend(*inputs, pack(UNEVEN), window=window, score_bias=given)
    expected = by_formula(*exact, UNEVEN, window, bias)
    torch.testing.assert_close(mixed.double(), expected, rtol=0.02, atol=0.02)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(mixed, inputs, upstream.bfloat16())
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, exact, upstream), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("window", [(-1, 0), (0, -1), (2, 2), (1, 3), (0, 0), (50, 50)], ids=str)
@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])
@pytest.mark.parametrize("padded", [False, True])
def test_within_its_window(window, dropout_prob, padded):
    inputs = draw(sum(UNEVEN), dtype=torch.float64)
    expected = by_formula(*inputs, UNEVEN, window)
    tokens = pack(UNEVEN)
    if padded:
        tokens = tokens.padded(12, pad_id=0)
        grids = [spread(part, UNEVEN, 12, 7.0) for part in inputs]
        mixed = attend(*grids, tokens, dropout_prob, window)
        assert mixed.isfinite().all()
        mixed = mixed[tokens.valid_mask()]
    else:
        mixed = attend(*inputs, tokens, dropout_prob, window)
    torch.testing.assert_close(mixed, expected)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(mixed, inputs, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, upstream))


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("window", [(-1, -1), (2, 2)], ids=str)
@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])
def test_a_bias_is_added_to_the_scores(heads, window, dropout_prob):
    """As relative positions: of a head and of the distance from query to key, whatever the row."""
    inputs, longest = draw(sum(UNEVEN), dtype=torch.float64), max(UNEVEN)
    bias = torch.randn(heads, longest, longest, dtype=torch.float64, requires_grad=True)
    mixed = attend(*inputs, pack(UNEVEN), dropout_prob, window, score_bias=bias)
    expected = by_formula(*inputs, UNEVEN, window, bias)
    torch.testing.assert_close(mixed, expected)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(mixed, (*inputs, bias), upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (*inputs, bias), upstream))


def test_gradients_pass_through_what_was_not_dropped():
    tokens = pack(UNEVEN)
    inputs = draw(tokens.num_tokens, dtype=torch.float64)

    def attend_with_the_same_draws(*inputs):
        torch.manual_seed(0)
        return attend(*inputs, tokens, 0.3)

    torch.autograd.gradcheck(attend_with_the_same_draws, inputs, fast_mode=True)  # of random directions
    assert not torch.allclose(attend_with_the_same_draws(*inputs), by_formula(*inputs, UNEVEN), rtol=0.1)


@pytest.mark.parametrize("dropout_prob", [0.0, 0.3])
def test_no_token_sees_another_row(dropout_prob):
    torch.manual_seed(0)
    tokens = pack(UNEVEN)
    inputs = draw(tokens.num_tokens)
    mixed = attend(*inputs, tokens, dropout_prob)
    rows = torch.arange(len(UNEVEN)).repeat_interleave(torch.tensor(UNEVEN))
    for row in range(len(UNEVEN)):
        gradients = torch.autograd.grad(mixed[rows == row].square().sum(), inputs, retain_graph=True)
        for gradient in gradients:
            assert torch.count_nonzero(gradient[rows != row]) == 0
        assert torch.count_nonzero(gradients[2][rows == row]) > 0


@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])
@pytest.mark.parametrize("filler", [0.0, 1e4])
def test_padded_is_packed_whatever_the_padding_holds(dropout_prob, filler):
    length = max(UNEVEN) + 2
    tokens = pack(UNEVEN)
    inputs = [part.detach() for part in draw(tokens.num_tokens)]
    padded = [spread(part, UNEVEN, length, filler) for part in inputs]
    mixed = attend(*padded, tokens.padded(length, pad_id=0), dropout_prob)
    real = (torch.arange(length) < tokens.row_lengths[:, None]).flatten()
    torch.testing.assert_close(mixed[real], attend(*inputs, tokens, dropout_prob))
    assert mixed.isfinite().all()


def test_dropout_keeps_the_expectation():
    torch.manual_seed(0)
    tokens = pack([4, 2])
    inputs = [part.detach() for part in draw(tokens.num_tokens)]
    draws = torch.stack([attend(*inputs, tokens, 0.3) for _ in range(4000)])
    errors = (draws.mean(dim=0) - attend(*inputs, tokens)) / (draws.std(dim=0) / len(draws) ** 0.5)
    assert errors.abs().max() < 4.5  # standard errors; 144 values
    assert 0.5 < errors.std() < 1.5


def test_dropout_is_for_training():
    settings = BertConfig(hidden_size=24, num_attention_heads=3, hidden_dropout_prob=0.0)
    attention, tokens, x = SelfAttention(settings), pack(UNEVEN), torch.randn(sum(UNEVEN), 24)
    assert not torch.equal(attention(x, tokens), attention(x, tokens))
    attention.eval()
    assert torch.equal(attention(x, tokens), attention(x, tokens))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("lengths", [UNEVEN, EVEN], ids=str)
@pytest.mark.parametrize("pad", [None, 9, 16])
def test_the_kernels_agree(lengths, pad):
    """varlen on CUDA against scaled-dot-product attention there (which a dropout of nearly nothing asks for)."""
    tokens = pack(lengths)
    inputs = draw(tokens.num_tokens, dtype=torch.bfloat16)
    real = torch.ones(tokens.num_tokens, dtype=torch.bool)
    if pad is not None:
        inputs = [spread(part.detach(), lengths, pad, 1.0).requires_grad_() for part in inputs]
        real = (torch.arange(pad) < tokens.row_lengths[:, None]).flatten()
        tokens = tokens.padded(pad, pad_id=0)
    inputs = [part.detach().cuda().requires_grad_() for part in inputs]
    tokens, real = tokens.to(torch.device("cuda")), real.cuda()
    by_rows, by_grid = attend(*inputs, tokens), attend(*inputs, tokens, 1e-9)
    torch.testing.assert_close(by_rows[real], by_grid[real], rtol=0.02, atol=0.02)
    upstream = torch.randn_like(by_rows) * real[:, None, None]
    gradients = zip(
        torch.autograd.grad(by_rows, inputs, upstream), torch.autograd.grad(by_grid, inputs, upstream), strict=True
    )
    for ours, theirs in gradients:
        torch.testing.assert_close(ours[real], theirs[real], rtol=0.03, atol=0.03)
