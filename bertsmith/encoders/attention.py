"""`attend`: one contract, two kernels.

Queries, keys and values come flat, [T, H, K]; the result is flat too; no token sees another row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.config import BertConfig
from bertsmith.encoders.dropout import Dropout, draw_kept
from bertsmith.encoders.tokens import Tokens

AttentionWindow = tuple[int, int]
"""How many tokens to its left and to its right a token sees; −1: all. As FlashAttention's window."""

FULL, CAUSAL, REVERSE_CAUSAL = (-1, -1), (-1, 0), (0, -1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, dropout_prob: float = 0.0, window: AttentionWindow = FULL
) -> Tensor:
    """Softmax attention within each row, and there within `window`: [T, H, K] three times → [T, H, K].

    On CUDA in half precision without dropout, rows go to `torch.nn.attention.varlen` as they lie; it has no dropout
    argument and does not run elsewhere, so all else spreads the rows over a grid of equal length.
    """
    half = query.dtype in (torch.bfloat16, torch.float16)
    if query.device.type == "cuda" and half and dropout_prob == 0.0 and query.shape[-1] % 8 == 0:
        return _attend_rows(query, key, value, tokens, window)
    return _attend_grid(query, key, value, tokens, dropout_prob, window)


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, window: AttentionWindow) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # CUDA only, and slow to import

    bounds = tokens.cu_seqlens()
    return varlen_attn(query, key, value, bounds, bounds, tokens.max_seqlen, tokens.max_seqlen, window_size=window)


def _attend_grid(
    query: Tensor, key: Tensor, value: Tensor, tokens: Tokens, dropout_prob: float, window: AttentionWindow
) -> Tensor:
    # [N, H, L, K] each
    query, key, value = (tokens.to_padded(part).transpose(1, 2) for part in (query, key, value))
    mask = _mask(tokens, window)
    if query.device.type == "cpu" and dropout_prob > 0.0 and not torch.compiler.is_compiling():
        mixed = _AttentionWithDropout.apply(query, key, value, mask, dropout_prob)
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout_prob)
    return tokens.to_flat(mixed.transpose(1, 2))  # [T, H, K]


def _mask(tokens: Tokens, window: AttentionWindow) -> Tensor | None:
    """Which keys a query of the grid sees, true where it does: [N, 1, 1, L] or [(N, 1,) L, L]; None: all."""
    mask = tokens.key_mask()
    if window == FULL:
        return mask
    left, right = (tokens.max_seqlen if side < 0 else side for side in window)
    place = torch.arange(tokens.max_seqlen, device=tokens.ids.device)
    distance = place - place[:, None]  # [L, L], from query to key
    near = (distance >= -left) & (distance <= right)
    # A place without a token may have no key near it, and the softmax of nothing is not a number: it sees itself.
    return near if mask is None else near & mask | (distance == 0)


class _AttentionWithDropout(torch.autograd.Function):
    """For the CPU, whose own scaled-dot-product attention leaves its fused kernel when there is dropout, draws it
    slowly and keeps every step for the backward pass. This keeps the weights, a byte for each and the inputs."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, prob: float) -> Tensor:
        query, key, value = (part.contiguous() for part in (query, key, value))
        scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)  # [N, H, L, L]
        if mask is not None:
            scores.masked_fill_(~mask, float("-inf"))
        weights = scores.softmax(dim=-1)
        kept, ctx.scale = draw_kept(weights.shape, prob)
        ctx.save_for_backward(query, key, value, weights, kept)
        return ((weights * kept) @ value).mul_(ctx.scale)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradient * ctx.scale
        for_value = (weights * kept).transpose(-1, -2) @ gradient
        for_scores = (gradient @ value.transpose(-1, -2)).mul_(kept).mul_(weights)
        for_scores.addcmul_(weights, for_scores.sum(dim=-1, keepdim=True), value=-1.0)
        for_scores.mul_(query.shape[-1] ** -0.5)
        return for_scores @ key, for_scores.transpose(-1, -2) @ query, for_value, None, None


class SelfAttention(nn.Module):
    """Multi-head attention within rows, with its output projection: [T, D] → [T, D]."""

    def __init__(self, settings: BertConfig, window: AttentionWindow = FULL):
        super().__init__()
        size = settings.hidden_size
        self.window = window
        self.shape = (3, settings.heads, settings.head_size)
        self.dropout_prob = settings.attention_probs_dropout_prob
        self.query_key_value = nn.Linear(size, 3 * size)  # one product instead of three
        self.dense = nn.Linear(size, size)
        self.dropout = Dropout(settings.hidden_dropout_prob)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        query, key, value = self.query_key_value(x).view(x.shape[0], *self.shape).unbind(dim=1)  # [T, H, K] each
        mixed = attend(query, key, value, tokens, self.dropout_prob if self.training else 0.0, self.window)
        return self.dropout(self.dense(mixed.reshape(x.shape)))
