"""Which tokens a discriminator takes for replaced."""

from collections.abc import Sequence

import numpy as np

from bertsmith.encoders.networks import ReplacedTokenModel
from bertsmith.evals.rows import asking, framed, in_one_pass
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine


def replaced_probs(
    network: ReplacedTokenModel, texts: Sequence[Sequence[int]], tokenizer: Tokenizer, machine: Machine
) -> list[np.ndarray]:
    """Return each token's probability of being a replacement, for each text of token ids: [number of tokens]."""
    assert not network.is_energy_head
    rows = [framed(text, tokenizer) for text in texts]
    with asking(network, machine):
        return in_one_pass(lambda tokens: network.logits(tokens).float().sigmoid(), rows, machine)
