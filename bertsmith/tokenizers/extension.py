"""A vocabulary with more words at its end, for a model that was trained on the first ones."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import tokenizers

from bertsmith.errors import UserError, quoted
from bertsmith.tokenizers.tokenizer import Tokenizer, explicit_normalizer
from bertsmith.tokenizers.vocabulary import count_words


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
