"""Encoders with their pre-training heads."""

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.tokens import Tokens


class MaskedTokenModel(nn.Module):
    """An encoder with a masked-token head on the encoder's own token table."""

    def __init__(self, encoder: EncoderConfig, vocab_size: int):
        super().__init__()
        self.encoder = Encoder(encoder, vocab_size)
        self.head = encoder.masked_token_head(vocab_size)

    @property
    def table(self) -> Tensor:
        """[V, E], the vocabulary's vectors."""
        return self.encoder.embeddings.token.weight

    def vectors(self, tokens: Tokens, indices: Tensor) -> Tensor:
        """Return the vectors at `indices` ([M], of the flat tokens) that are multiplied with the table: [M, E]."""
        return self.encoder.project_to_embedding(self.head(self.encoder(tokens).index_select(0, indices)))

    def scores(self, tokens: Tokens, indices: Tensor) -> Tensor:
        """Return scores over the vocabulary at `indices`: [M, V]."""
        return F.linear(self.vectors(tokens, indices), self.table, self.head.bias)


class ReplacedTokenModel(nn.Module):
    """An encoder with a head that gives each token a logit: ELECTRA's discriminator, or an Electric."""

    def __init__(self, encoder: EncoderConfig, vocab_size: int, is_energy_head: bool = False):
        """Build encoder and head; `is_energy_head` says whether `logits` are energies, minus the logarithm of a token's
        probability in its context, but for a constant (Electric), or log-odds that a token was replaced (ELECTRA)."""
        super().__init__()
        self.encoder = Encoder(encoder, vocab_size)
        self.head = encoder.replaced_token_head()
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
