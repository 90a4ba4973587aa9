"""Pseudo-log-likelihoods of sentences, in nats.

A masked-token model is asked for each token in turn, that one masked; the logarithms of the true tokens' probabilities
are added up. That is a row a token: n² tokens for a sentence of n, and less is not to be had, since in a bidirectional
model every vector depends on what is masked. A discriminator says of all tokens in one pass how well each fits.
[CLS] and [SEP] do not count. All of it is in float32, also while a model is trained in bfloat16 (`rows.asking`).

Source: Salazar et al. 2020, Masked Language Model Scoring, section 2; for one pass, Electric, arXiv 2012.08561.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError
from bertsmith.evals.rows import asking, batches, framed, in_one_pass, on_machine, places
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine
from bertsmith.training.models import Model

LikelihoodModel = MaskedTokenModel | ReplacedTokenModel
"""Networks that score sentences; the pre-training objectives are such networks too."""

MEASURES = {
    "log_prob_of_masked_token": "the log-probability of each token, masked in turn, added up (pseudo-log-likelihood)",
    "log_prob_of_not_replaced": "the log-probability that a token was not replaced, added up over the tokens: how well "
    "they fit by a discriminator, which is no likelihood of the text",
    "negative_energy": "minus the energy of each token, added up (an Electric's estimate of the pseudo-log-likelihood)",
}
"""A score's terms, as JSON names them → in words."""


def scoring_head(model: Model) -> HeadName:
    """Return the head of the first network of a pre-trained model, which says how likely sentences are: of two
    networks, the discriminator's.

    Raises:
        UserError: it has no head that says so.
    """
    head = model.network.head
    if head not in ("masked_tokens", "replaced_tokens"):
        raise UserError(
            f"{model.path}: no masked-token and no discriminator head, so it cannot say how likely a text is; name "
            f"the model as it was pre-trained (a folder of …ForMaskedLM or …ForPreTraining)"
        )
    return head


def measure_of(model: Model) -> str:
    """Return which of `MEASURES` the scores of a pre-trained model are. Raises UserError as `scoring_head` does."""
    if scoring_head(model) == "masked_tokens":
        return "log_prob_of_masked_token"
    return "negative_energy" if model.network.is_energy_head else "log_prob_of_not_replaced"


def likelihoods(
    network: LikelihoodModel, sentences: Sequence[Sequence[int]], tokenizer: Tokenizer, machine: Machine
) -> np.ndarray:
    """Return the pseudo-log-likelihood of each sentence of token ids without special tokens: [len(sentences)]
    float64."""
    return np.array([shares.sum() for shares in token_likelihoods(network, sentences, tokenizer, machine)])


def token_likelihoods(
    network: LikelihoodModel, sentences: Sequence[Sequence[int]], tokenizer: Tokenizer, machine: Machine
) -> list[np.ndarray]:
    """Return what each token contributes to its sentence's: an array of [number of tokens] float64 for each. Equal
    sentences have equal numbers to the last bit, whatever they shared a batch with."""
    distinct = list(dict.fromkeys(tuple(sentence) for sentence in sentences))
    rows = [framed(sentence, tokenizer) for sentence in distinct]
    if not rows:
        return []
    with asking(network, machine):
        if isinstance(network, MaskedTokenModel):
            answers = _one_mask_at_a_time(network, rows, tokenizer, machine)
        else:
            answers = in_one_pass(network.token_likelihoods, rows, machine)
    by_sentence = dict(zip(distinct, answers, strict=True))
    return [by_sentence[tuple(sentence)] for sentence in sentences]


def preferred(
    network: LikelihoodModel, pairs: Sequence[tuple[list[int], list[int]]], tokenizer: Tokenizer, machine: Machine
) -> np.ndarray:
    """Return of each pair of sentences whether the first is the likelier: 1, or 0, or one half where they are equal."""
    scores = likelihoods(network, [ids for pair in pairs for ids in pair], tokenizer, machine).reshape(-1, 2)
    return (np.sign(scores[:, 0] - scores[:, 1]) + 1) / 2


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of `count` independent trials.

    The share itself is put at (hits + 1) / (count + 2), Laplace's rule: three of three trials leave doubt, which the
    plain formula puts at zero, and so a mean over a few such shares would have none either.
    """
    if not count:
        return math.nan
    likely = (share * count + 1) / (count + 2)
    return math.sqrt(likely * (1 - likely) / count)


def _one_mask_at_a_time(
    network: MaskedTokenModel, rows: Sequence[np.ndarray], tokenizer: Tokenizer, machine: Machine
) -> list[np.ndarray]:
    lengths = np.array([len(row) for row in rows])
    row = np.repeat(np.arange(len(rows)), lengths - 2)  # [Q], a question a token
    column = np.concatenate([np.arange(1, length - 1) for length in lengths])
    answers = np.empty(len(row))
    for chosen in batches(lengths[row], machine):
        asked = list(zip(row[chosen], column[chosen], strict=True))
        masked = [np.where(np.arange(lengths[number]) == place, tokenizer.mask_id, rows[number])
                  for number, place in asked]  # fmt: skip
        tokens = on_machine(masked, machine)
        scores = network.scores(tokens, places(tokens, np.arange(len(asked)), column[chosen])).float()  # [M, V]
        labels = torch.tensor([rows[number][place] for number, place in asked], device=scores.device)
        answers[chosen] = (scores.gather(1, labels[:, None])[:, 0] - scores.logsumexp(dim=1)).cpu().numpy()
    return np.split(answers, np.cumsum(lengths - 2)[:-1])
