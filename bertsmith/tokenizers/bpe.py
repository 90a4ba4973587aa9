"""Texts in, a trained byte-level BPE tokenizer out: the same text gives the same vocabulary."""

import re
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from bertsmith.errors import UserError
from bertsmith.tokenizers.families import SpecialFamily, UnicodeForm, add_specials, unicode_normalizer
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.vocabulary import MAX_RUN

_LONG_RUN = re.compile(rf"\S{{{MAX_RUN + 1},}}|\s{{{MAX_RUN + 1},}}")

MIN_BPE_SIZE = 300  # 256 bytes, the special tokens, and a few merges


def train_bpe(texts: Iterable[str], size: int, specials: SpecialFamily, form: UnicodeForm) -> Tokenizer:
    """Train a byte-level BPE with a vocabulary of `size` tokens on `texts`, read once: GPT-2's cut of words, as RoBERTa
    and ModernBERT have it; no text is unknown to it.

    Runs of more than 1,000 characters without white space, or of white space alone, are left out.

    The ids: special tokens, bytes, then pieces in the order of their making. The order of the texts does not matter.
    The vocabulary is smaller than `size` where the text has fewer pieces that occur twice. Raises UserError where
    `size` has no room for all bytes, or there is no text.
    """
    if size < MIN_BPE_SIZE:
        raise UserError(
            f"size = {size}: a byte-level vocabulary has at least {MIN_BPE_SIZE} tokens; RoBERTa's has 50265"
        )
    fast = tokenizers.Tokenizer(models.BPE())
    if (normalizer := unicode_normalizer(form)) is not None:
        fast.normalizer = normalizer
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(specials.tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fast.train_from_iterator(_lines(texts), trainer)
    if fast.get_vocab_size() == len(specials.tokens) + 256:
        raise UserError("no text to train a vocabulary on; every document is empty, or no two letters come twice")
    add_specials(fast, specials)
    return Tokenizer(fast, special_tokens=specials.by_key)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            yield _LONG_RUN.sub(" ", line) if len(line) > MAX_RUN else line
