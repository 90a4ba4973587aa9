"""A convolution of tokens' vectors within rows, as DeBERTa has beside its first layer."""

from collections.abc import Callable

from torch import Tensor, nn

from bertsmith.encoders.bert import PostNormConfig
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.tokens import Tokens


class RowConvolution(nn.Module):
    """A convolution of a layer's inputs within rows, added to its outputs and normalised: [T, D] twice → [T, D]."""

    def __init__(self, settings: PostNormConfig, width: int, groups: int, activation: Callable[[Tensor], Tensor]):
        """Draw the weights; a token sees `width` of them, and `groups` parts of their vectors are apart."""
        super().__init__()
        size = settings.hidden_size
        self.convolution = nn.Conv1d(size, size, width, padding=width // 2, groups=groups)
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.activation = activation

    def forward(self, x: Tensor, outputs: Tensor, tokens: Tokens) -> Tensor:
        padded, mask = tokens.to_padded(x), tokens.key_mask()  # [N, L, D]
        if mask is not None:
            padded = padded.masked_fill(~mask[:, 0, 0, :, None], 0.0)
        mixed = tokens.to_flat(self.convolution(padded.transpose(1, 2)).transpose(1, 2))
        return self.norm(outputs + self.activation(self.dropout(mixed)))
