"""Texts in, a trained WordPiece tokenizer out: the same text gives the same vocabulary. And
a vocabulary with more words at its end, for a model that was trained on the first ones.

`tokenizers` grows the vocabulary, by merging the most frequent neighbours as in BPE. It numbers characters in the order
of a randomly seeded hash table and breaks ties between merges by those numbers, so that two runs over the same text
would differ in a few tokens and in most ids; here the characters are numbered before it starts.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from bertsmith.errors import UserError, quoted
from bertsmith.tokenizers.tokenizer import Tokenizer, explicit_normalizer
from bertsmith.tokenizers.wordpiece import SPECIAL_TOKENS, WORD_LENGTH, build

MIN_SIZE = 100  # of a vocabulary: below it there is hardly room for an alphabet
MAX_CHARACTERS = 1000  # in the alphabet; rarer ones become [UNK]. The default of tokenizers.BertWordPieceTokenizer
MAX_DISTINCT = 4_000_000  # distinct words kept in the count, about 0.5 GB; 72 MB of web text have 0.6 million

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
    if size < MIN_SIZE:
        raise UserError(f"size = {size}: a vocabulary has at least {MIN_SIZE} tokens; BERT's has 30522")
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


def count_words(texts: Iterable[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """Count how often each word occurs, as BERT's pre-tokenizer cuts them; the longest are left out. Each run of
    characters between white space is normalized once, not as often as it occurs."""
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text, count in _count(texts).items():
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            if len(word) <= WORD_LENGTH:  # a longer one is [UNK] in any vocabulary
                words[word] += count
    return words


def _count(texts: Iterable[str]) -> Counter[str]:
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


def extend(base: Tokenizer, texts: Iterable[str], size: int) -> Tokenizer:
    """Return `base` with whole words of `texts` after its tokens, up to `size` tokens, otherwise as `base`.

    Chosen are the words that save most tokens: those that occur at least twice, by (pieces − 1) × occurrences. A word
    that becomes [UNK] in `base` counts as if it were cut into its characters and one piece more. Whole words and no
    pieces are added, because the vector of a new word can start from the mean of its pieces' vectors.
    Raises UserError where `size` leaves no room, or no word would save a token.
    """
    if size <= base.vocab_size:
        raise UserError(
            f"size = {size}: the vocabulary to extend has {base.vocab_size} tokens already; "
            f"say how many there shall be, as size={base.vocab_size + 1000}"
        )
    definition = json.loads(base.fast.to_str())
    vocabulary = definition["model"]["vocab"]
    if behind := [token["content"] for token in definition["added_tokens"] if token["content"] not in vocabulary]:
        raise UserError(
            f"the vocabulary to extend has added tokens behind it, as {quoted(behind[0], 60)}, whose ids would move; "
            f"put them into vocab.txt, in the lines of their ids, and into additional_special_tokens"
        )
    counts = count_words(texts, base.fast.normalizer)
    words = sorted(word for word, count in counts.items() if count > 1)
    ids, ends = base.encode_batch(words)
    num_pieces = np.diff(ends, prepend=0)
    is_unknown = np.isin(np.arange(len(words)), np.searchsorted(ends, np.flatnonzero(ids == base.unk_id), side="right"))
    saved = {
        word: ((len(word) + 1 if unknown else int(pieces)) - 1) * counts[word]
        for word, pieces, unknown in zip(words, num_pieces, is_unknown, strict=True)
    }
    chosen = sorted((word for word in words if saved[word] > 0), key=lambda word: (-saved[word], word))
    if not chosen:
        raise UserError("no word of this text occurs twice and is cut into pieces; the vocabulary serves as it is")
    tokens = chosen[: size - base.vocab_size]
    definition["model"]["vocab"] |= {token: base.vocab_size + place for place, token in enumerate(tokens)}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(definition)))


def extends(tokenizer: Tokenizer, base: Tokenizer) -> bool:
    """Return whether each id of `base` means the same in `tokenizer`, which may have more; true of one and the same."""
    if tokenizer.vocab_size < base.vocab_size or _rules(tokenizer) != _rules(base):
        return False
    return all(tokenizer.token(id) == base.token(id) for id in range(base.vocab_size))


def pieces(base: Tokenizer, token: str) -> list[int]:
    """Return the ids that `base` cuts `token` into, longest first from the left as WordPiece does; [UNK]'s where it
    cannot.

    A token that begins with "##" is cut as the inside of a word.
    """
    prefix, rest = ("##", token[2:]) if token.startswith("##") else ("", token)
    found: list[int] = []
    while rest:
        ends = (end for end in range(len(rest), 0, -1) if base.fast.token_to_id(prefix + rest[:end]) is not None)
        end = next(ends, 0)
        if not end:
            return [base.unk_id]
        found.append(base.id(prefix + rest[:end]))
        prefix, rest = "##", rest[end:]
    return found or [base.unk_id]


def _rules(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the rules that split text into words and pieces, without the longest word, which `compat` changes."""
    definition = json.loads(tokenizer.fast.to_str())
    prefix = definition["model"]["continuing_subword_prefix"]
    return {
        "normalizer": explicit_normalizer(definition), "pre_tokenizer": definition["pre_tokenizer"], "prefix": prefix,
    }  # fmt: skip
