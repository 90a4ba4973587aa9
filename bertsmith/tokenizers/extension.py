"""A vocabulary with more words at its end, for a model that was trained on the first ones."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import tokenizers

from bertsmith.errors import UserError, quoted
from bertsmith.tokenizers.fingerprint import explicit_normalizer
from bertsmith.tokenizers.pieces import cut_words
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.vocabulary import MAX_RUN, count_runs, count_words

_IS_WORD = re.compile(r"(?:\w|['’-])+")
"""Words of a pre-tokenizer that leaves punctuation at them."""

_NEVER_BEST = -1e6
"""Score of a Unigram's piece that is there for its id alone."""


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
    _refuse_added_behind(base, definition)
    _refuse_uncut(base, definition)
    counts = count_words(texts, base.fast.normalizer) if base.kind == "WordPiece" else _count_bare_words(base, texts)
    words = sorted(word for word, count in counts.items() if count > 1)
    ids, ends = base.encode_words(words)
    num_pieces = np.diff(ends, prepend=0)
    is_unknown = np.isin(np.arange(len(words)), np.searchsorted(ends, np.flatnonzero(ids == base.unk_id), side="right"))
    saved = {
        word: ((len(word) + 1 if unknown else int(pieces)) - 1) * counts[word]
        for word, pieces, unknown in zip(words, num_pieces, is_unknown, strict=True)
    }
    chosen = sorted((word for word in words if saved[word] > 0), key=lambda word: (-saved[word], word))
    if not chosen:
        raise UserError("no word of this text occurs twice and is cut into pieces; the vocabulary serves as it is")
    _add_words(definition, base, chosen[: size - base.vocab_size])
    extended = tokenizers.Tokenizer.from_str(json.dumps(definition))
    return Tokenizer(extended, special_tokens=base.special_tokens)


def extends(tokenizer: Tokenizer, base: Tokenizer) -> bool:
    """Return whether each id of `base` means the same in `tokenizer`, which may have more; true of one and the same."""
    if tokenizer.vocab_size < base.vocab_size or tokenizer.special_tokens != base.special_tokens:
        return False
    if _rules(tokenizer) != _rules(base):
        return False
    return all(tokenizer.token(id) == base.token(id) for id in range(base.vocab_size))


def pieces_of(tokenizer: Tokenizer, id: int, base: Tokenizer) -> list[int]:
    """Return the ids that `base` cuts a token of its extension `tokenizer` into; [UNK]'s where it cannot."""
    if base.kind == "WordPiece":
        return pieces(base, tokenizer.token(id))
    text = tokenizer.text(id)
    if text.startswith(" "):
        text = base.word_beginning + text[1:]
    return base.encode_each([text])[0] or [base.unk_id]


def pieces(base: Tokenizer, token: str) -> list[int]:
    """Return the ids that a WordPiece `base` cuts `token` into, longest first from the left; [UNK]'s where it cannot.

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


def notes_on_extending(base: Tokenizer) -> list[str]:
    """Return a line about the tokens of a BPE that its merges never make of a word, and an extension does: it takes
    every word whole that is a token. Other words without a new one keep their ids."""
    if base.kind != "BPE" or json.loads(base.fast.to_str())["model"].get("ignore_merges"):
        return []
    found_before = {token.content for token in base.fast.get_added_tokens_decoder().values() if not token.single_word}
    model = base.fast.model
    unmade = [
        id
        for id in range(base.vocab_size)
        if (token := base.token(id)) not in found_before
        and [one.id for one in model.tokenize(token)] != [id]
        and cut_words(base.fast, base.text(id)) == [token]
    ]
    if not unmade:
        return []
    return [
        f"warning: {len(unmade):,} tokens of the vocabulary to extend are never made by its merges, as "
        f"{quoted(base.token(unmade[0]), 40)}; in the extension, words that are one of them get its id"
    ]


def _refuse_added_behind(base: Tokenizer, definition: dict[str, Any]) -> None:
    """Raise UserError where a WordPiece vocabulary has added tokens after it: in it, they might be parts of words."""
    vocabulary = definition["model"]["vocab"]
    behind = [token["content"] for token in definition["added_tokens"] if token["content"] not in vocabulary]
    if base.kind == "WordPiece" and behind:
        raise UserError(
            f"the vocabulary to extend has added tokens behind it, as {quoted(behind[0], 60)}, whose ids would move; "
            f"put them into vocab.txt, in the lines of their ids, and into additional_special_tokens"
        )


def _refuse_uncut(base: Tokenizer, definition: dict[str, Any]) -> None:
    """Raise UserError for a BPE that would not find a new word in a text, or not know it from a word's beginning."""
    if base.kind == "BPE" and len(cut_words(base.fast, "a a")) < 2:
        raise UserError(
            "the vocabulary to extend is a BPE without a pre-tokenizer that cuts at spaces: it merges whole texts, in "
            "which a new word is never found; extend one that cuts words, or train one (kind=bpe)"
        )
    if suffix := definition["model"].get("end_of_word_suffix"):
        raise UserError(
            f"the vocabulary to extend is a BPE whose words end in {quoted(suffix, 20)}, which takes no whole words; "
            f"extend one of another kind, or train one (kind=bpe)"
        )


def _count_bare_words(base: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Count the words of texts without the punctuation around them, each as `base` normalizes it; a word that its
    pre-tokenizer would cut is none."""
    counts: Counter[str] = Counter()
    normalizer, beginning = base.fast.normalizer, base.word_beginning
    for run, count in count_runs(texts).items():
        if len(run) > MAX_RUN:
            continue
        bare = run[next((n for n, c in enumerate(run) if c.isalnum()), len(run)) :]
        while bare and not bare[-1].isalnum():
            bare = bare[:-1]
        if normalizer is not None and bare:
            bare = normalizer.normalize_str(bare).replace(base.space_mark, " ").strip()
        if bare and _IS_WORD.fullmatch(bare) and len(cut_words(base.fast, beginning + bare)) == 1:
            counts[bare] += count
    return counts


def _add_words(definition: dict[str, Any], base: Tokenizer, words: list[str]) -> None:
    """Put words after all tokens of `base` in its definition, so that its model takes them whole.

    A BPE takes a word of its vocabulary before it merges (`ignore_merges`). Of a Unigram each has the score of its
    pieces together, and a little more, the more the longer: of a word and its beginning, both new, the word is taken
    whole. Added tokens after the vocabulary become part of it, where nothing else is cut
    into them.
    """
    model = definition["model"]
    tokens = (
        words if base.kind == "WordPiece" else [cut_words(base.fast, base.word_beginning + word)[0] for word in words]
    )
    if base.kind == "Unigram":
        scores = [score for _, score in model["vocab"]]
        worst = min(scores)
        pieces_by_word = base.encode_each([base.word_beginning + word for word in words])
        model["vocab"] += [[base.token(id), _NEVER_BEST] for id in range(len(scores), base.vocab_size)]
        for token, ids in zip(tokens, pieces_by_word, strict=True):
            score = sum(scores[id] if id < len(scores) and id != base.unk_id else worst - 10 for id in ids)
            model["vocab"].append([token, score + 1e-3 * len(ids)])
        return
    known = model["vocab"]
    known |= {base.token(id): id for id in range(base.vocab_size) if base.token(id) not in known}
    known |= {token: base.vocab_size + place for place, token in enumerate(tokens)}
    if base.kind == "BPE":
        model["ignore_merges"] = True


def _rules(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the rules that split text into words and pieces, without the longest word, which `compat` changes, and
    what an extension changes."""
    definition = json.loads(tokenizer.fast.to_str())
    model = definition["model"]
    keys = ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "merges", "unk_id")
    return {
        "kind": tokenizer.kind, "normalizer": explicit_normalizer(definition),
        "pre_tokenizer": definition["pre_tokenizer"], **{key: model.get(key) for key in keys},
    }  # fmt: skip
