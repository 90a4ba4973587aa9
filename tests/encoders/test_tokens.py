"""Tokens' laws: packing and padding lose nothing, and both ways of moving between them are each other's inverse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.encoders.tokens import Tokens
from tests.toys import needs_cuda

PAD = 0

row_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def pack(lengths: list[int]) -> Tokens:
    total = sum(lengths)
    return Tokens.pack(np.arange(1, total + 1), np.arange(total) % 2, np.array(lengths))


def places(lengths: list[int]) -> list[tuple[int, int]]:
    """(row, position) of each packed token, spelled out."""
    return [(row, position) for row, length in enumerate(lengths) for position in range(length)]


def test_pack_by_hand():
    tokens = pack([2, 3, 1])
    assert tokens.positions.tolist() == [0, 1, 0, 1, 2, 0]
    assert tokens.row_starts.tolist() == [0, 2, 5]
    assert tokens.pad_indices.tolist() == [0, 1, 3, 4, 5, 6]
    assert (tokens.num_tokens, tokens.num_rows, tokens.max_seqlen, tokens.has_padding) == (6, 3, 3, True)
    assert tokens.key_mask()[:, 0, 0].tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_rows_of_one_length_are_their_own_grid():
    tokens = pack([4, 4])
    assert tokens.pad_indices is None
    assert not tokens.has_padding
    assert tokens.key_mask() is None
    flat = torch.randn(8, 3)
    assert tokens.to_padded(flat).data_ptr() == flat.data_ptr()  # nothing is copied


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_ids_of_any_integer_type_become_int64(dtype):
    tokens = Tokens.pack(np.array([65, 66], dtype), np.zeros(2, np.uint8), np.array([2], dtype))
    assert {tokens.ids.dtype, tokens.segment_ids.dtype, tokens.row_lengths.dtype} == {torch.int64}


@settings(deadline=None)
@given(row_lengths)
def test_grid_and_flat_are_inverse_with_the_gradients_of_plain_indexing(lengths):
    tokens = pack(lengths)
    rows, positions = (torch.tensor(side) for side in zip(*places(lengths), strict=True))
    flat = torch.randn(tokens.num_tokens, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(tokens.num_rows, tokens.max_seqlen, 2, 3, dtype=torch.float64)

    plain_grid = torch.zeros_like(weights).index_put((rows, positions), flat)
    grid = tokens.to_padded(flat)
    assert torch.equal(grid, plain_grid)
    assert torch.equal(tokens.to_flat(grid), flat)
    (gradient,) = torch.autograd.grad((grid * weights).sum(), flat)
    (plain_gradient,) = torch.autograd.grad((plain_grid * weights).sum(), flat)
    assert torch.equal(gradient, plain_gradient)

    full = weights.clone().requires_grad_()
    back, plain_back = tokens.to_flat(full), full[rows, positions]
    assert torch.equal(back, plain_back)
    (gradient,) = torch.autograd.grad((back * flat.detach()).sum(), full)
    (plain_gradient,) = torch.autograd.grad((plain_back * flat.detach()).sum(), full)
    assert torch.equal(gradient, plain_gradient)


@settings(deadline=None)
@given(row_lengths, st.integers(0, 4))
def test_padding_keeps_every_token_at_its_place(lengths, extra):
    packed = pack(lengths)
    length = max(lengths) + extra
    padded = packed.padded(length, PAD)
    grid = padded.ids.view(len(lengths), length)
    segments = padded.segment_ids.view(len(lengths), length)
    expected = torch.full_like(grid, PAD)
    for token, place in enumerate(places(lengths)):
        expected[place] = packed.ids[token]
        assert segments[place] == packed.segment_ids[token]
    assert torch.equal(grid, expected)
    assert torch.equal(padded.positions.view(grid.shape), torch.arange(length).expand(grid.shape))
    assert torch.equal(padded.key_mask()[:, 0, 0], grid != PAD)  # pack() above uses no id 0
    assert torch.equal(padded.ids[padded.row_starts], packed.ids[packed.row_starts])
    assert torch.equal(padded.row_lengths, packed.row_lengths)


@settings(deadline=None)
@given(row_lengths, st.integers(0, 4), st.booleans())
def test_bounds_put_two_tokens_together_only_where_they_share_a_row(lengths, extra, pad):
    tokens = pack(lengths)
    row_of = torch.tensor([row for row, _ in places(lengths)])
    if pad:
        length = max(lengths) + extra
        tokens = tokens.padded(length, PAD)
        row = torch.arange(len(lengths)).repeat_interleave(length)
        row_of = torch.where(tokens.ids == PAD, -1 - row, row)  # the padding behind each row, by itself
    bounds = tokens.cu_seqlens()
    assert bounds.dtype == torch.int32
    assert bounds[0] == 0
    assert bounds[-1] == tokens.num_tokens
    assert (bounds.diff() >= 0).all()
    assert bounds.diff().max() <= tokens.max_seqlen
    stretch = torch.searchsorted(bounds, torch.arange(tokens.num_tokens, dtype=torch.int32), right=True)
    assert torch.equal(stretch[:, None] == stretch, row_of[:, None] == row_of)


@settings(deadline=None)
@given(row_lengths, st.data())
def test_some_of_the_rows_are_a_batch_of_their_own(lengths, data):
    start = data.draw(st.integers(0, len(lengths) - 1))
    stop = data.draw(st.integers(start + 1, len(lengths)))
    first = sum(lengths[:start])
    piece = slice(first, first + sum(lengths[start:stop]))
    tokens, rows = pack(lengths), pack(lengths).rows(start, stop)
    expected = Tokens.pack(tokens.ids[piece].numpy(), tokens.segment_ids[piece].numpy(), np.array(lengths[start:stop]))
    for name in ("ids", "segment_ids", "positions", "row_starts", "row_lengths"):
        assert torch.equal(getattr(rows, name), getattr(expected, name)), name
    assert (rows.max_seqlen, rows.has_padding) == (expected.max_seqlen, expected.has_padding)


def test_other_ids_on_the_same_rows():
    tokens = pack([2, 3])
    changed = tokens.with_ids(tokens.ids * 7)
    assert changed.ids.tolist() == [7, 14, 21, 28, 35]
    assert changed.pad_indices is tokens.pad_indices


def test_a_length_that_does_not_fit_is_refused():
    with pytest.raises(AssertionError):
        pack([2, 5]).padded(4, PAD)
    with pytest.raises(AssertionError):
        Tokens.pack(np.arange(4), np.zeros(4), np.array([2, 1]))
    with pytest.raises(AssertionError):
        Tokens.pack(np.arange(4), np.zeros(4), np.array([4, 0]))


@pytest.mark.gpu
@needs_cuda
def test_a_batch_moves_to_the_device_whole():
    for tokens in (pack([2, 3]), pack([2, 2]), pack([2, 3]).padded(4, PAD)):
        moved = tokens.to(torch.device("cuda"))
        assert torch.equal(moved.cu_seqlens().cpu(), tokens.cu_seqlens())
        flat = torch.arange(tokens.num_tokens, device="cuda")
        assert torch.equal(moved.to_flat(moved.to_padded(flat)), flat)
        assert (moved.key_mask() is None) == (tokens.key_mask() is None)
