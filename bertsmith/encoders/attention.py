"""Attention within rows: `attend`, with one kernel for packed rows and one for padded ones.

Queries, keys and values come flat, [T, H, K]; the result is flat too; no token sees another row.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.encoders.dropout import draw_mask
from bertsmith.encoders.relative import RelativeBias, relative_attention
from bertsmith.encoders.tokens import Tokens

AttentionWindow = tuple[int, int]
"""How many tokens to its left and to its right a token sees; −1: all. As FlashAttention's window."""

FULL, CAUSAL, REVERSE_CAUSAL = (-1, -1), (-1, 0), (0, -1)

SHORT_ROW = 256
"""Longest row, in tokens, for which plain products are the faster attention in training on the CPU in bfloat16: 4.5 ms
in place of 19 for 16 rows of 64 and four heads, 57 in place of 117 for 8 rows of 256 and twelve (AMX, one thread)."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tokens: Tokens,
    dropout_prob: float = 0.0,
    window: AttentionWindow = FULL,
    *,
    score_bias: Tensor | RelativeBias | None = None,
) -> Tensor:
    """Compute softmax attention within each row, and there within `window`: [T, H, K] three times → [T, H, K].

    On CUDA in half precision without dropout, rows go to `torch.nn.attention.varlen` as they lie; it takes no dropout
    and no bias and does not run elsewhere, so all else is padded to rows of equal length.

    Args:
        score_bias: added to the scaled scores before the softmax, and given a gradient if it wants one; of a shape that
            broadcasts to [N, H, L, L], from query to key within the padded rows. A `RelativeBias` is computed of
            queries, keys and distances, on the CPU without a bias of that shape, elsewhere with one; the scores are
            scaled by its `scale`.
    """
    half = query.dtype in (torch.bfloat16, torch.float16)
    if query.device.type == "cuda" and half and dropout_prob == 0.0 and score_bias is None and query.shape[-1] % 8 == 0:
        return _attend_packed(query, key, value, tokens, window)
    return _attend_padded(query, key, value, tokens, dropout_prob, mask=_mask(tokens, window), bias=score_bias)


def _attend_packed(query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, window: AttentionWindow) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # CUDA only, and slow to import

    bounds = tokens.cu_seqlens()
    length = tokens.max_seqlen
    return cast(Tensor, varlen_attn(query, key, value, bounds, bounds, length, length, window_size=window))


def _attend_padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tokens: Tokens,
    dropout_prob: float,
    *,
    mask: Tensor | None,
    bias: Tensor | RelativeBias | None,
) -> Tensor:
    # [N, H, L, K] each
    query, key, value = (tokens.to_padded(part).transpose(1, 2) for part in (query, key, value))
    by_hand = query.device.type == "cpu" and not torch.compiler.is_compiling()
    if by_hand and isinstance(bias, RelativeBias):
        mixed = relative_attention(query, key, value, mask, bias, dropout_prob)
    elif by_hand and (dropout_prob > 0.0 or _is_slow_when_fused(query)):
        mixed = _UnfusedAttention.apply(query, key, value, mask, bias, dropout_prob)  # type: ignore[no-untyped-call]
    else:
        scale = bias.scale if isinstance(bias, RelativeBias) else None
        scores = bias.scores(query, key) if isinstance(bias, RelativeBias) else bias
        if scores is not None:
            mask = scores.to(query.dtype) if mask is None else scores.to(query.dtype).masked_fill(~mask, float("-inf"))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_prob, scale=scale)
    mixed = mixed.transpose(1, 2)
    if torch.compiler.is_exporting():  # to what may lay it out otherwise than the kernel here
        mixed = mixed.clone(memory_format=torch.contiguous_format)
    return tokens.to_flat(mixed)  # [T, H, K]


def _is_slow_when_fused(query: Tensor) -> bool:
    """Return whether torch's fused kernel is the slower one for rows of [N, H, L, K]: its backward pass on the CPU
    multiplies the bfloat16 matrices of each row and head by themselves. Of longer rows the attention weights, which it
    does not keep, would take much memory."""
    return query.requires_grad and query.dtype == torch.bfloat16 and query.shape[2] <= SHORT_ROW


def _mask(tokens: Tokens, window: AttentionWindow) -> Tensor | None:
    """Return which keys a query sees, padded, true where it does: [N, 1, 1, L] or [(N, 1,) L, L]; None: all."""
    mask = tokens.key_mask()
    if window == FULL:
        return mask
    left, right = (tokens.max_seqlen if side < 0 else side for side in window)
    place = torch.arange(tokens.max_seqlen, device=tokens.ids.device)
    distance = place - place[:, None]  # [L, L], from query to key
    near = (distance >= -left) & (distance <= right)
    # A place without a token may have no key near it, and the softmax of nothing is not a number: it sees itself.
    return near if mask is None else near & mask | (distance == 0)


class _UnfusedAttention(torch.autograd.Function):
    """Attention of plain products on the CPU. With dropout torch's own leaves its fused kernel, draws slowly and keeps
    every step for the backward pass; this keeps the weights, a byte for each and the inputs."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, prob: float
    ) -> Tensor:
        query, key, value = (part.contiguous() for part in (query, key, value))
        scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)  # [N, H, L, L]
        ctx.bias_shape = None if bias is None else bias.shape
        if bias is not None:
            scores += bias
        if mask is not None:
            scores.masked_fill_(~mask, float("-inf"))
        weights = scores.softmax(dim=-1)
        kept, ctx.scale = draw_mask(weights.shape, prob) if prob > 0.0 else (None, 1.0)
        ctx.save_for_backward(query, key, value, weights, kept)
        mixed = (weights if kept is None else weights * kept) @ value
        return mixed if kept is None else mixed.mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradient if kept is None else gradient * ctx.scale
        for_value = (weights if kept is None else weights * kept).transpose(-1, -2) @ gradient
        for_scores = gradient @ value.transpose(-1, -2)
        for_scores = (for_scores if kept is None else for_scores.mul_(kept)).mul_(weights)
        for_scores.addcmul_(weights, for_scores.sum(dim=-1, keepdim=True), value=-1.0)
        for_bias = None if ctx.bias_shape is None else for_scores.sum_to_size(ctx.bias_shape).clone()
        for_scores.mul_(query.shape[-1] ** -0.5)
        return for_scores @ key, for_scores.transpose(-1, -2) @ query, for_value, None, for_bias, None
