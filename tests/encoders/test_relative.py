"""Attention with scores of distances: held to its formula, and no token ever to see another row."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bertsmith.encoders import relative
from bertsmith.encoders.attention import attend
from bertsmith.encoders.relative import RelativeBias
from bertsmith.encoders.tokens import Tokens
from tests.encoders.test_attention import EVEN, HEAD_SIZE, HEADS, UNEVEN, draw, pack, spread
from tests.toys import needs_cuda

SCALE = 0.3


def draw_bias(length: int, terms: str = "both", **options) -> RelativeBias:
    generator = torch.Generator().manual_seed(3)
    keys, queries = (torch.randn(2 * length, HEADS, HEAD_SIZE, generator=generator) for _ in range(2))
    keys, queries = (part.to(**options).requires_grad_() for part in (keys, queries))
    return RelativeBias(None if terms == "queries" else keys, None if terms == "keys" else queries, SCALE)


def by_formula(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], bias: RelativeBias, right=-1) -> Tensor:
    """Row by row and pair by pair: softmax(scale · (q·k + q·keys[k − q] + k·queries[q − k])) v."""
    mixed = []
    zero = (bias.keys if bias.keys is not None else bias.queries).shape[0] // 2 - 1  # the place of distance 0
    for q, k, v in zip(query.split(lengths), key.split(lengths), value.split(lengths), strict=True):
        scores = torch.full((HEADS, len(q), len(q)), float("-inf"), dtype=q.dtype)
        for one in range(len(q)):
            for other in range(len(q)):
                if other - one > right >= 0:
                    continue
                total = (q[one] * k[other]).sum(dim=-1)
                if bias.keys is not None:
                    total = total + (q[one] * bias.keys[zero + other - one]).sum(dim=-1)
                if bias.queries is not None:
                    total = total + (k[other] * bias.queries[zero + one - other]).sum(dim=-1)
                scores[:, one, other] = total * bias.scale
        mixed.append(torch.einsum("hqs,shk->qhk", scores.softmax(dim=-1), v))
    return torch.cat(mixed)


def parts_of(bias: RelativeBias) -> list[Tensor]:
    return [part for part in (bias.keys, bias.queries) if part is not None]


@pytest.mark.parametrize("terms", ["both", "keys", "queries"])
@pytest.mark.parametrize("lengths", [UNEVEN, EVEN, [1]], ids=str)
@pytest.mark.parametrize("path", ["by hand", "nearly no dropout", "by torch's kernel"])
def test_the_formula_and_its_gradients(lengths, terms, path, monkeypatch):
    inputs = draw(sum(lengths), dtype=torch.float64)
    bias = draw_bias(max(lengths), terms, dtype=torch.float64)
    if path == "by torch's kernel":  # as on a GPU, and where the layer is compiled
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    mixed = attend(*inputs, pack(lengths), 1e-9 if path == "nearly no dropout" else 0.0, score_bias=bias)
    monkeypatch.undo()
    expected = by_formula(*inputs, lengths, bias)
    torch.testing.assert_close(mixed, expected)
    upstream, wanted = torch.randn_like(expected), (*inputs, *parts_of(bias))
    gradients = torch.autograd.grad(mixed, wanted, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, wanted, upstream))


@pytest.mark.parametrize(("chunk", "block"), [(1, 128), (600, 3), (1 << 20, 2), (1, 1)])
@pytest.mark.parametrize("lengths", [UNEVEN, EVEN], ids=str)
def test_the_cut_of_the_work_changes_nothing(lengths, chunk, block, monkeypatch):
    monkeypatch.setattr(relative, "_CHUNK", chunk)
    monkeypatch.setattr(relative, "_BLOCK", block)
    inputs, bias = draw(sum(lengths), dtype=torch.float64), draw_bias(max(lengths), dtype=torch.float64)
    mixed, expected = attend(*inputs, pack(lengths), score_bias=bias), by_formula(*inputs, lengths, bias)
    torch.testing.assert_close(mixed, expected)
    upstream, wanted = torch.randn_like(expected), (*inputs, *parts_of(bias))
    gradients = torch.autograd.grad(mixed, wanted, upstream)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, wanted, upstream))


@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])
def test_padded_is_packed_and_a_window_is_one(dropout_prob):
    length = max(UNEVEN) + 2
    inputs = [part.detach() for part in draw(sum(UNEVEN), dtype=torch.float64)]
    bias = draw_bias(length, dtype=torch.float64)
    tokens = pack(UNEVEN).padded(length, pad_id=0)
    padded = [spread(part, UNEVEN, length, 7.0) for part in inputs]
    for window in ((-1, -1), (-1, 2)):
        mixed = attend(*padded, tokens, dropout_prob, window, score_bias=bias)
        assert mixed.isfinite().all()
        expected = by_formula(*inputs, UNEVEN, bias, right=window[1])
        torch.testing.assert_close(mixed[tokens.valid_mask()], expected)


def test_gradients_pass_through_what_was_not_dropped():
    tokens = pack(UNEVEN)
    inputs, bias = draw(tokens.num_tokens, dtype=torch.float64), draw_bias(max(UNEVEN), dtype=torch.float64)

    def attend_with_the_same_draws(query, key, value, keys, queries):
        torch.manual_seed(0)
        return attend(query, key, value, tokens, 0.3, score_bias=RelativeBias(keys, queries, SCALE))

    torch.autograd.gradcheck(attend_with_the_same_draws, (*inputs, *parts_of(bias)), fast_mode=True)
    dropped = attend_with_the_same_draws(*inputs, *parts_of(bias))
    assert not torch.allclose(dropped, by_formula(*inputs, UNEVEN, bias), rtol=0.1)


def test_nothing_as_large_as_the_scores_is_kept_but_the_weights():
    """What the backward pass needs: inputs, weights and a byte for each, not the products with distances."""
    length, rows = 32, 16
    tokens = Tokens.pack(np.ones(rows * length), np.zeros(rows * length), np.full(rows, length))
    inputs, bias = draw(rows * length), draw_bias(length)
    sizes: dict[int, int] = {}

    def pack_hook(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
        attend(*inputs, tokens, 0.1, score_bias=bias)
    scores = rows * HEADS * length * length
    small = 4 * (3 * rows * length + 2 * 2 * length) * HEADS * HEAD_SIZE
    assert 5 * scores <= sum(sizes.values()) <= 5 * scores + 1.1 * small


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dropout_prob", [0.0, 1e-9])
@pytest.mark.parametrize("pad", [9, 16])
def test_on_a_gpu(dropout_prob, pad):
    inputs = [spread(part.detach(), UNEVEN, pad, 1.0) for part in draw(sum(UNEVEN))]
    tokens, bias = pack(UNEVEN).padded(pad, pad_id=0), draw_bias(pad)
    real = tokens.valid_mask()
    expected = attend(*inputs, tokens, score_bias=bias)
    device = torch.device("cuda")
    there = RelativeBias(bias.keys.cuda().bfloat16(), bias.queries.cuda().bfloat16(), SCALE)
    mixed = attend(*(part.cuda().bfloat16() for part in inputs), tokens.to(device), dropout_prob, score_bias=there)
    torch.testing.assert_close(mixed.float().cpu()[real], expected[real], rtol=0.03, atol=0.03)
