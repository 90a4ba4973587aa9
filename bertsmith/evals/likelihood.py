"""Pseudo-log-likelihoods of sentences, in nats.

A masked-token model is asked for each token in turn, that one masked; the logarithms of the true tokens' probabilities
are added up. That is a row a token: n² tokens for a sentence of n, and less is not to be had, since in a bidirectional
model every vector depends on what is masked. A discriminator says of all tokens in one pass how well each fits.
[CLS] and [SEP] do not count. All of it is in float32, also while a model is trained in bfloat16 (`rows.scoring_mode`).

Source: Salazar et al. 2020, Masked Language Model Scoring, section 2; for one pass, Electric, arXiv 2012.08561.

A test of word order needs no labels: of a sentence and the same one with two neighbouring words swapped, which does the
model find likelier? Both have the same tokens, so neither length nor rare words decide. Chance is one half.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError
from bertsmith.evals.rows import batches, flat_indices, per_token_values, scoring_mode, to_device, with_special_tokens
from bertsmith.randomness import derived_rng
from bertsmith.text.shards import Data, Shard
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
    rows = [with_special_tokens(sentence, tokenizer) for sentence in distinct]
    if not rows:
        return []
    with scoring_mode(network, machine):
        if isinstance(network, MaskedTokenModel):
            answers = _one_mask_at_a_time(network, rows, tokenizer, machine)
        else:
            answers = per_token_values(network.token_likelihoods, rows, machine)
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
        tokens = to_device(masked, machine)
        scores = network.scores(tokens, flat_indices(tokens, np.arange(len(asked)), column[chosen])).float()  # [M, V]
        labels = torch.tensor([rows[number][place] for number, place in asked], device=scores.device)
        answers[chosen] = (scores.gather(1, labels[:, None])[:, 0] - scores.logsumexp(dim=1)).cpu().numpy()
    return np.split(answers, np.cumsum(lengths - 2)[:-1])


MIN_WORDS, MAX_WORDS = 5, 14
"""Of a sentence that is used; a longer one takes longer to score, by the square."""


class Pair(NamedTuple):
    """Token ids of a sentence, and of the same with two neighbouring words swapped; both without special tokens."""

    sentence: list[int]
    swapped: list[int]


def find_pairs(data: Data, max_pairs: int) -> list[Pair]:
    """Return at most `max_pairs` pairs from the held-out documents of `data`: the same ones at every call."""
    by_sentence: dict[tuple[int, ...], Pair] = {}
    rng = derived_rng(0, "word order")
    for index in range(data.num_shards("heldout")):
        for sentence in _sentences(data.read("heldout", index), data.tokenizer):
            words = _words(sentence, data.tokenizer)
            # The full stop stays.
            places = [place for place in range(len(words) - 2) if _may_swap(words, place, data.tokenizer)]
            if places:
                place = places[rng.integers(len(places))]
                swapped = [*words[:place], words[place + 1], words[place], *words[place + 2 :]]
                by_sentence.setdefault(tuple(sentence), Pair(sentence, [id for word in swapped for id in word]))
    pairs = list(by_sentence.values())
    return [pairs[chosen] for chosen in rng.permutation(len(pairs))[:max_pairs]]


def word_order(network: LikelihoodModel, pairs: Sequence[Pair], tokenizer: Tokenizer, machine: Machine) -> float:
    """Return the share of `pairs` whose sentence is the likelier one; equals count as one half. NaN where there are
    none."""
    return float(preferred(network, pairs, tokenizer, machine).mean()) if pairs else math.nan


def _sentences(shard: Shard, tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Yield what stands before a full stop of a document, the full stop included, if it is words and nothing else:
    documentation is full of code, whose order is another matter."""
    texts = [tokenizer.text(id).strip() for id in range(tokenizer.vocab_size)]
    is_word, is_stop = np.array([text.isalpha() for text in texts]), np.array([text == "." for text in texts])
    start = 0
    for end in shard.document_ends.tolist():
        document = np.asarray(shard.tokens[start:end], dtype=np.int64)
        start = end
        stops = [-1, *np.flatnonzero(is_stop[document]).tolist()]
        for previous_stop, next_stop in pairwise(stops):
            sentence = document[previous_stop + 1 : next_stop]
            words = _words(sentence.tolist(), tokenizer)
            if MIN_WORDS <= len(words) <= MAX_WORDS and is_word[sentence].all():
                yield document[previous_stop + 1 : next_stop + 1].tolist()


def _words(ids: Sequence[int], tokenizer: Tokenizer) -> list[list[int]]:
    """Group tokens into words."""
    starts = tokenizer.word_bounds.starts(np.array(ids, dtype=np.int64))
    bounds = [*np.flatnonzero(starts).tolist(), len(ids)]
    return [list(ids[begin:end]) for begin, end in pairwise(bounds)]


def _may_swap(words: list[list[int]], place: int, tokenizer: Tokenizer) -> bool:
    """Return whether the word at a place and the next are different, and as much words when each is in the other's
    place: a text's first one may have no space before it."""
    first, second = words[place : place + 2]
    are_spaced = [tokenizer.text(word[0]).startswith(" ") for word in (first, second)]
    return first != second and are_spaced[0] == are_spaced[1]
