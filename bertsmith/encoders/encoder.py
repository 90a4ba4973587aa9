"""The encoder: token ids in, a vector a token out; and encoders with their pre-training heads."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.attention import FULL, AttentionWindow
from bertsmith.encoders.config import EncoderConfig, VocabularyHead
from bertsmith.encoders.tokens import Tokens


class TransformerStack(nn.Module):
    """An encoder above its embeddings: a projection where their width is not the hidden size, the layers, and
    what the architecture has before and after them."""

    def __init__(self, settings: EncoderConfig, window: AttentionWindow = FULL):
        """Build the parts; `window` is that of all layers, in architectures without windows of their own."""
        super().__init__()
        self.settings = settings
        self.projection = settings.build_projection() if settings.projection_size else nn.Identity()
        self.norm = settings.build_input_norm()
        self.dropout = settings.build_input_dropout()
        self.final_norm = settings.build_final_norm()
        self.distances = settings.build_distances()
        self.layers = nn.ModuleList(settings.build_layer(index, window) for index in range(settings.num_hidden_layers))

    def encode(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Run the layers on embeddings `x` [T, E] of `tokens` → [T, D]."""
        x, distances = self._begin(x, tokens)
        for layer in self.layers:
            x = layer(x, tokens, *distances)
        return self.final_norm(x)

    def masked_token_vectors(self, x: Tensor, tokens: Tokens, indices: Tensor, head: VocabularyHead) -> Tensor:
        """Return the vectors at `indices` ([M], of the flat tokens) that are multiplied with the token table, of
        embeddings `x` [T, E] of `tokens`: [M, E]."""
        if self.settings.has_mask_decoder:
            vectors = self._decode(x, tokens, indices, head.position_vectors(tokens))
        else:
            vectors = self.encode(x, tokens).index_select(0, indices)
        return self.settings.project_to_embedding(head(vectors), self.projection)

    def _begin(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, tuple[Any, ...]]:
        """Return what the first layer is given, [T, D], and what all layers are given besides."""
        x = self.projection(x).to(x.dtype)  # what layers add to is not rounded, and one graph serves them all
        return self.dropout(self.norm(x)), () if self.distances is None else (self.distances(tokens),)

    def _decode(self, x: Tensor, tokens: Tokens, indices: Tensor, positions: Tensor) -> Tensor:
        """Run the layers but the last on embeddings `x` [T, E], and the last one twice on the result of these, H: its
        queries are H + `positions` [T, D], then its own first result → the vectors at `indices`, [M, D].

        Source: the enhanced mask decoder of DeBERTa, arXiv 2006.03654, section 3.2; microsoft/DeBERTa,
        apps/models/masked_language_model.py.
        """
        x, distances = self._begin(x, tokens)
        *before, last = self.layers
        for layer in before:
            x = layer(x, tokens, *distances)
        first = last(x, tokens, *distances, query=x + positions)
        return self.final_norm(last(x, tokens, *distances, query=first, indices=indices))


class Encoder(TransformerStack):
    """Embeddings and a stack of layers. Hugging Face's ElectraModel is the same network (BertModel where the widths
    agree), or its ModernBertModel or DebertaV2Model."""

    def __init__(self, settings: EncoderConfig, vocab_size: int):
        super().__init__(settings)
        self.vocab_size = vocab_size
        self.embeddings = settings.build_embeddings(vocab_size)

    def forward(self, tokens: Tokens) -> Tensor:
        """Encode [T] ids → [T, D]."""
        return self.encode(self.embeddings(tokens), tokens)

    def first_of_rows(self, tokens: Tokens) -> Tensor:
        """Return the vector of each row's first token, [CLS]: [N, D]."""
        return self(tokens)[tokens.row_starts]

    def mean_of_rows(self, tokens: Tokens) -> Tensor:
        """Return the mean of the vectors of each row's tokens, [CLS] and [SEP] among them: [N, D]."""
        return tokens.mean_of_rows(self(tokens))

    def pooled(self, tokens: Tokens) -> Tensor:
        """Return the vector that a row's classes are read from, [N, D]."""
        return self.mean_of_rows(tokens) if self.settings.pools_mean else self.first_of_rows(tokens)


class MaskedTokenModel(nn.Module):
    """An encoder with a masked-token head on the encoder's own token table."""

    def __init__(self, config: EncoderConfig, vocab_size: int):
        super().__init__()
        self.encoder = Encoder(config, vocab_size)
        self.head = config.masked_token_head(vocab_size)

    @property
    def table(self) -> Tensor:
        """[V, E], the vocabulary's vectors."""
        return self.encoder.embeddings.token.weight

    def vectors(self, tokens: Tokens, indices: Tensor) -> Tensor:
        """Return the vectors at `indices` ([M], of the flat tokens) that are multiplied with the table: [M, E]."""
        return self.encoder.masked_token_vectors(self.encoder.embeddings(tokens), tokens, indices, self.head)

    def scores(self, tokens: Tokens, indices: Tensor) -> Tensor:
        """Return scores over the vocabulary at `indices`: [M, V]."""
        return F.linear(self.vectors(tokens, indices), self.table, self.head.bias)


class ReplacedTokenModel(nn.Module):
    """An encoder with a head that gives each token a logit: ELECTRA's discriminator, or an Electric."""

    def __init__(self, config: EncoderConfig, vocab_size: int, is_energy_head: bool = False):
        """Build encoder and head; `is_energy_head` says whether `logits` are energies, minus the logarithm of a token's
        probability in its context, but for a constant (Electric), or log-odds that a token was replaced (ELECTRA)."""
        super().__init__()
        self.encoder = Encoder(config, vocab_size)
        self.head = config.replaced_token_head()
        self.is_energy_head = is_energy_head

    def logits(self, tokens: Tokens) -> Tensor:
        """Return [T] logits; log-odds are above 0 where a token is likelier replaced than original."""
        return self.head(self.encoder(tokens))

    def token_likelihoods(self, tokens: Tokens) -> Tensor:
        """Return how well each token fits, in nats, from one pass over unmasked tokens: [T] float32. It is the
        logarithm of the probability that it is original, or minus its energy.

        Source: for energies, Electric, arXiv 2012.08561, "Fast Pseudo-Log-Likelihood Scoring".
        """
        logits = self.logits(tokens).float()
        return -logits if self.is_energy_head else F.logsigmoid(-logits)


def num_parameters(module: nn.Module) -> int:
    """Count trained numbers in `module`, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
