"""Vectors of the distances between tokens, which DeBERTa's attention scores are made of besides contents.

Source: DeBERTa, arXiv 2006.03654, section 3.1; of the buckets, transformers, models/deberta_v2/modeling_deberta_v2.py.
"""

import torch
from torch import Tensor, nn

from bertsmith.encoders.bert import PostNormConfig
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.tokens import Tokens


class DistanceVectors(nn.Module):
    """The vectors of distances, which all layers project for themselves."""

    def __init__(self, settings: PostNormConfig, num_buckets: int, max_distance: int, has_norm: bool):
        """Draw the vectors of so many buckets, or of each distance where `num_buckets` is 0."""
        super().__init__()
        self.span, self.max_distance, self.num_buckets = num_buckets or max_distance, max_distance, num_buckets
        self.table = nn.Embedding(2 * self.span, settings.hidden_size)
        self.norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps) if has_norm else nn.Identity()
        initialize(self.table, settings.initializer_range)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return the vectors that rows of this length use, [R, D], and which of them the distances −L … L from query to
        key have (query minus key): [2L + 1] int64."""
        length = tokens.max_seqlen
        distances = torch.arange(-length, length + 1, device=tokens.ids.device)
        rows = (self.buckets(distances) + self.span).clamp(0, 2 * self.span - 1)
        table, exact = self.table.weight, self.num_buckets // 2 if self.num_buckets else self.span - 1
        if not torch.compiler.is_compiling() and length <= exact:  # distances have vectors of their own, in order
            first = self.span - length
            table, rows = table[first : self.span + length + 1], rows - first
        return self.norm(table), rows

    def buckets(self, distances: Tensor) -> Tensor:
        """Return each distance's bucket, of its sign: itself up to half of the buckets, then by its logarithm.

        Computed in float32 and rounded up, as transformers' make_log_bucket_position does.
        """
        half = self.num_buckets // 2
        if not half:
            return distances
        far = distances.abs().clamp(min=half)
        steps = (far / half).log() / torch.tensor((self.max_distance - 1) / half).log() * (half - 1)
        return torch.where(distances.abs() <= half, distances, ((steps.ceil() + half) * distances.sign()).long())
