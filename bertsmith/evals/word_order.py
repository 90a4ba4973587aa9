"""A test of word order that needs no labels: of a sentence and the same one with two neighbouring words swapped, which
does the model find likelier?

Both sentences have the same tokens, so neither length nor rare words decide. Chance is one half.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bertsmith.evals.likelihood import LikelihoodModel, preferred
from bertsmith.randomness import derived_rng
from bertsmith.text.shards import Data, Shard
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine

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
            places = [place for place in range(len(words) - 2) if words[place] != words[place + 1]]  # the stop stays
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
    stop = tokenizer.id(".")
    is_word = np.array([tokenizer.token(id).removeprefix("##").isalpha() for id in range(tokenizer.vocab_size)])
    start = 0
    for end in shard.document_ends.tolist():
        document = np.asarray(shard.tokens[start:end], dtype=np.int64)
        start = end
        stops = [-1, *np.flatnonzero(document == stop).tolist()]
        for before, behind in pairwise(stops):
            sentence = document[before + 1 : behind]
            words = _words(sentence.tolist(), tokenizer)
            if MIN_WORDS <= len(words) <= MAX_WORDS and is_word[sentence].all():
                yield [*sentence.tolist(), stop]


def _words(ids: Sequence[int], tokenizer: Tokenizer) -> list[list[int]]:
    """Group tokens into words: a token that begins with "##" goes on with the one before it."""
    words: list[list[int]] = []
    for id in ids:
        if words and tokenizer.token(id).startswith("##"):
            words[-1].append(id)
        else:
            words.append([id])
    return words
