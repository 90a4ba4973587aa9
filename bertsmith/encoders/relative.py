"""Attention scores that depend on the distance from query to key: each token's product with a vector of the distance.

The products of some tokens with all distances that they have are one matrix product, and the scores are a skewed view
of it, so that no index as large as the scores is made, gathered from or scattered to.

Source: of the scores, DeBERTa, arXiv 2006.03654, section 3.1; of the skew, Music Transformer, arXiv 1809.04281, section
3.4.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from bertsmith.encoders.dropout import draw_mask

_BLOCK = 64
"""Tokens whose products with distances are computed at once: of L + _BLOCK distances, not of all 2L."""

_CHUNK = 1 << 18
"""Numbers of such a product, over rows and heads, that are computed at once: what stays in a core's cache."""


class RelativeBias(NamedTuple):
    """A bias on scores: query · `keys`[distance] + key · `queries`[distance], either of which may be left out (None).

    Distances are those from a token to the other one, −L + 1 to L, of rows padded to L; the last one is never used.
    """

    keys: Tensor | None
    """[2L, H, K]: a vector for each distance from a query to its key."""
    queries: Tensor | None
    """[2L, H, K]: a vector for each distance from a key to its query."""
    scale: float
    """The factor of the sum of all products, query · key included."""

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the bias of padded queries and keys, [N, H, L, K] each, times `scale`: [N, H, L, L]."""
        bias: Tensor | None = None
        if self.keys is not None:
            bias = _skewed((query * self.scale) @ self.keys.permute(1, 2, 0))
        if self.queries is not None:
            part = _skewed((key * self.scale) @ self.queries.permute(1, 2, 0)).transpose(-1, -2)
            bias = part if bias is None else bias + part
        assert bias is not None
        return bias.contiguous()  # as kernels want it


def relative_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: RelativeBias, dropout_prob: float
) -> Tensor:
    """Compute attention with a relative bias on the CPU, padded: [N, H, L, K] three times → [N, H, L, K].

    The rows are worked on a few at a time. Kept for the backward pass are the inputs, the weights and, where there is
    dropout, a byte for each.

    Args:
        mask: true where a query sees a key, of a shape that broadcasts to [N, H, L, L]; None: everywhere.
    """
    keys = None if bias.keys is None else bias.keys.transpose(0, 1).contiguous()  # [H, 2L, K]
    queries = None if bias.queries is None else bias.queries.transpose(0, 1) * bias.scale
    options = mask, dropout_prob
    return cast(Tensor, _RelativeAttention.apply(query * bias.scale, key, value, keys, queries, options))  # type: ignore[no-untyped-call]


def _skewed(products: Tensor) -> Tensor:
    """Return, of products [.., B, L + B] of B tokens in succession with the distances from the last one to the row's
    first token and up to L, those with the distances to each of its L tokens: [.., B, L], a view."""
    size, width = products.shape[-2:]
    flat = products.flatten(-2)[..., size - 1 : size - 1 + size * (width - 1)]
    return flat.view(*products.shape[:-2], size, width - 1)[..., : width - size]


class _RelativeAttention(torch.autograd.Function):
    """Attention with a relative bias and dropout on the CPU, some rows at a time; queries come scaled."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        keys: Tensor | None,
        queries: Tensor | None,
        options: tuple[Tensor | None, float],
    ) -> Tensor:
        mask, prob = options
        query, key, value = (part.contiguous() for part in (query, key, value))
        num_rows, heads, length, _ = query.shape
        weights = query.new_empty(num_rows, heads, length, length)
        kept, kept_scale = draw_mask(weights.shape, prob) if prob else (None, 1.0)
        mixed = torch.empty_like(value)
        for rows in _chunks(num_rows, heads, length):
            q, k = query[rows], key[rows]
            scores = q @ k.transpose(-1, -2)
            for part, distances in _blocks(length):
                if keys is not None:
                    scores[:, :, part] += _skewed(q[:, :, part] @ keys[:, distances].transpose(-1, -2))
                if queries is not None:
                    transposed = scores.transpose(-1, -2)[:, :, part]
                    transposed += _skewed(k[:, :, part] @ queries[:, distances].transpose(-1, -2))
            if mask is not None:
                scores.masked_fill_(~(mask[rows] if mask.dim() == 4 else mask), float("-inf"))
            torch.softmax(scores, dim=-1, out=weights[rows])
            dropped = weights[rows] if kept is None else weights[rows] * kept[rows]
            mixed[rows] = (dropped @ value[rows]).mul_(kept_scale)
        ctx.kept_scale = kept_scale
        ctx.save_for_backward(query, key, value, keys, queries, weights, kept)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, keys, queries, weights, kept = ctx.saved_tensors
        num_rows, heads, length, _ = query.shape
        for_query, for_key, for_value = (torch.empty_like(part) for part in (query, key, value))
        for_keys, for_queries = (None if part is None else torch.zeros_like(part) for part in (keys, queries))
        products: dict[tuple[int, int], Tensor] = {}
        for rows in _chunks(num_rows, heads, length):
            q, k, weight = query[rows], key[rows], weights[rows]
            upstream = gradient[rows] * ctx.kept_scale
            dropped = weight if kept is None else weight * kept[rows]
            for_value[rows] = dropped.transpose(-1, -2) @ upstream
            for_scores = upstream @ value[rows].transpose(-1, -2)
            if kept is not None:
                for_scores.mul_(kept[rows])
            for_scores.mul_(weight)
            for_scores.addcmul_(weight, for_scores.sum(dim=-1, keepdim=True), value=-1.0)
            for_query[rows] = for_scores @ k
            for_key[rows] = for_scores.transpose(-1, -2) @ q
            if for_keys is not None:
                _add_gradients(for_scores, q, keys, for_query[rows], for_keys, products)
            if for_queries is not None:
                _add_gradients(for_scores.transpose(-1, -2), k, queries, for_key[rows], for_queries, products)
        return for_query, for_key, for_value, for_keys, for_queries, None


def _add_gradients(
    for_scores: Tensor,
    tokens: Tensor,
    vectors: Tensor,
    for_tokens: Tensor,
    for_vectors: Tensor,
    products: dict[tuple[int, int], Tensor],
) -> None:
    """Add the gradients of tokens [N, H, L, K] and of the vectors of distances [H, 2L, K], of those of the scores of
    each token with all others [N, H, L, L]. `products` keeps room for gradients of products from call to call."""
    num_rows, heads, length, _ = for_scores.shape
    for part, distances in _blocks(length):
        size = part.stop - part.start
        if (num_rows, size) not in products:  # what no score is taken from stays 0
            products[num_rows, size] = for_scores.new_zeros(num_rows, heads, size, length + size)
        gradients = products[num_rows, size]
        _skewed(gradients).copy_(for_scores[:, :, part])
        for_tokens[:, :, part] += gradients @ vectors[:, distances]
        for_vectors[:, distances] += (gradients.transpose(-1, -2) @ tokens[:, :, part]).sum(dim=0)


def _blocks(length: int) -> Iterator[tuple[slice, slice]]:
    """Cut a row's tokens into blocks; with each come its distances, as a slice of the vectors of all 2L."""
    for start in range(0, length, _BLOCK):
        stop = min(start + _BLOCK, length)
        yield slice(start, stop), slice(length - stop, 2 * length - start)


def _chunks(num_rows: int, heads: int, length: int) -> list[slice]:
    """Cut rows into runs whose products with distances fit into `_CHUNK`, one row at least."""
    block = min(length, _BLOCK)
    size = max(1, _CHUNK // (heads * block * (length + block)))
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]
