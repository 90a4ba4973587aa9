"""Texts in, a trained WordPiece tokenizer out: the same text gives the same vocabulary.

`tokenizers` grows the vocabulary, by merging the most frequent neighbours as in BPE. It numbers characters in the order
of a randomly seeded hash table and breaks ties between merges by those numbers, so that two runs over the same text
would differ in a few tokens and in most ids; here the characters are numbered before it starts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from bertsmith.errors import UserError
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.wordpiece import WORD_LENGTH, build

MIN_SIZE = 100  # of a vocabulary: below it there is hardly room for an alphabet
MAX_CHARACTERS = 1000  # in the alphabet; rarer ones become [UNK]. The default of tokenizers.BertWordPieceTokenizer
MAX_DISTINCT = 4_000_000  # distinct words kept in the count, about 0.5 GB; 72 MB of web text have 0.6 million

MAX_RUN = 1000  # characters between white space; longer runs are no words, and to train on one takes its square
SLICE = 1 << 20  # characters split at a time, so that a long text is no list of all its words at once


def train_vocabulary(
    texts: Iterable[str], size: int, *, lowercase: bool = True, strip_accents: bool | None = None
) -> Tokenizer:
    """Train a tokenizer with a vocabulary of `size` tokens on `texts`, read once and one at a time.

    The ids: special tokens, characters, characters inside a word, then pieces in the order of their making. The order
    of the texts does not matter (while there are fewer than `MAX_DISTINCT` words).

    A sample of a few hundred MB is plenty; memory grows with the number of distinct words. The vocabulary is smaller
    than `size` where the text has fewer pieces that occur twice. Raises UserError where `size` is less than `MIN_SIZE`,
    or there is no word in the texts.
    """
    check_size(size)
    words = count_words(texts, normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents))
    if not words:
        raise UserError("no text to train a vocabulary on; every document is empty")
    first, inner = _alphabet(words, min(MAX_CHARACTERS, size // 8))
    head = [*SPECIAL_TOKENS, *first, *inner]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        # Tokens that are there from the start have the places they are given, instead of a hash table's.
        special_tokens=head,
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=False,
    )
    grown = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    grown.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    grown.train_from_iterator(_repeat(words), trainer)
    ids = grown.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    return Tokenizer(build(tokens, lowercase=lowercase, strip_accents=strip_accents))


def check_size(size: int) -> None:
    """Raise UserError where a vocabulary cannot be so small."""
    if size < MIN_SIZE:
        raise UserError(f"size = {size}: a vocabulary has at least {MIN_SIZE} tokens; BERT's has 30522")


def count_words(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """Count how often each word occurs, as BERT's pre-tokenizer cuts them; the longest are left out. Each run of
    characters between white space is normalized once, not as often as it occurs."""
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text, count in count_runs(texts).items():
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            if len(word) <= WORD_LENGTH:  # a longer one is [UNK] in any vocabulary
                words[word] += count
    return words


def count_runs(texts: Iterable[str]) -> Counter[str]:
    """Count how often each run of characters between white space occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        for start in range(0, len(text), SLICE):
            counts.update(text[start : start + SLICE].split())
        floor = 1
        while len(counts) > (MAX_DISTINCT if floor == 1 else MAX_DISTINCT // 2):
            counts = Counter({word: count for word, count in counts.items() if count > floor})
            floor += 1
    return counts


def _alphabet(words: Counter[str], most: int) -> tuple[list[str], list[str]]:
    """Return the `most` frequent characters in order of code point, and those of them that occur inside a word, with
    "##"."""
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in words.items():
        for character in word:
            counts[character] += count
        inside.update(word[1:])
    kept = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:most])
    return kept, [f"##{character}" for character in kept if character in inside]


def _repeat(words: Counter[str], most: int = 10_000) -> Iterator[str]:
    """Yield each word as often as it was counted: the trainer counts for itself."""
    for word, count in words.items():
        for done in range(0, count, most):
            yield f"{word} " * min(most, count - done)
