"""Ids of texts by the ids of their words, each of which `tokenizers` encodes once: several times its own rate.

A text is cut at single spaces, and the ids of "a b" are those of "a" and of " b", one after the other. That is so where
normalizer and pre-tokenizer look at nothing across such a space; a text for which it may not be so is encoded whole.
"""

from typing import Any

import numpy as np
import tokenizers

from bertsmith.tokenizers.added_search import AddedSearch
from bertsmith.tokenizers.definition import steps_of

MAX_CACHED_WORDS = 250_000  # in each of two caches: about 40 MB; text has more different words, but the rest are rare
MAX_CACHED_LENGTH = 64  # characters; a longer one is hardly a word, and comes hardly again

_LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Precompiled", "BertNormalizer"}
_LOCAL_PATTERNS = {" {2,}", r"\s{2,}|[\n\r\t]"}
"""Regular expressions of `Replace` that change white space alone."""

_CUTTING = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}
_BESIDE = {"Punctuation", "Digits"}

_JOINS_WHAT_FOLLOWS = frozenset(
    chr(code)
    for codes in (
        range(0x600, 0x606), range(0x6DD, 0x6DE), range(0x70F, 0x710), range(0x890, 0x892), range(0x8E2, 0x8E3),
        range(0xD4E, 0xD4F), range(0x110BD, 0x110BE), range(0x110CD, 0x110CE), range(0x111C2, 0x111C4),
        range(0x113D1, 0x113D2), range(0x1193F, 0x11940), range(0x11941, 0x11942), range(0x11A3A, 0x11A3B),
        range(0x11A84, 0x11A8A), range(0x11D46, 0x11D47), range(0x11F02, 0x11F03),
    )
    for code in codes
)  # fmt: skip
"""Characters that make one grapheme with what follows them, a space too; Unicode's property Prepend."""


class WordCache:
    """The ids of words of one tokenizer, for one process."""

    def __init__(self, fast: tokenizers.Tokenizer, drops_spaces: bool):
        """Begin with no words; `drops_spaces` says whether more spaces than one mean nothing."""
        self._fast, self._drops_spaces = fast, drops_spaces
        self._added = AddedSearch(fast)
        self._spaced = AddedSearch(fast, holding=" ")
        self._first = _Words(self._ids_of_first)
        self._rest = _Words(self._ids_of_other)

    def encode(self, text: str) -> bytes:
        """Return a text's ids, 32 bits each."""
        if not self._spaced.finds(text):
            first, *rest = text.split(" ")
            try:
                return b"".join((self._first[first], *map(self._rest.__getitem__, rest)))
            except TypeError:  # a word that has to be seen with what is beside it has None
                pass
        return self._whole(text)

    def _whole(self, text: str) -> bytes:
        return np.array(self._fast.encode(text, add_special_tokens=False).ids, dtype=np.uint32).tobytes()

    def _ids_of_first(self, word: str) -> bytes | None:
        return self._whole(word) if not word or self._is_separate(word) else None

    def _ids_of_other(self, word: str) -> bytes | None:
        if not word and self._drops_spaces:
            return b""
        return self._whole(f" {word}") if word and self._is_separate(f" {word}") else None

    def _is_separate(self, word: str) -> bool:
        """Return whether a word, with the space before it, is encoded the same whatever stands beside it."""
        normalized = self._added.normalized(word)
        if self._added.finds(word, normalized):
            return False
        for form in (word, normalized):
            body = form.removeprefix(" ")
            if not body or form.startswith(" ") != word.startswith(" ") or body[0].isspace() or body[-1].isspace():
                return False
        return word[-1] not in _JOINS_WHAT_FOLLOWS and normalized[-1] not in _JOINS_WHAT_FOLLOWS


class _Words(dict[str, Any]):
    """Word → ids, found when they are first asked for."""

    def __init__(self, find: Any):
        super().__init__()
        self._find = find

    def __missing__(self, word: str) -> bytes | None:
        ids: bytes | None = self._find(word)
        if len(self) < MAX_CACHED_WORDS and len(word) <= MAX_CACHED_LENGTH:
            self[word] = ids
        return ids


def encodes_by_words(definition: dict[str, Any]) -> bool:
    """Return whether a tokenizer, whose tokenizer.json has the content `definition`, looks at nothing across a single
    space."""
    cutters = steps_of(definition["pre_tokenizer"])
    if not all(map(_is_local, steps_of(definition["normalizer"]))):
        return False
    if not all(cutter["type"] in _BESIDE or _cuts_at_spaces(cutter) for cutter in cutters):
        return False
    return any(map(_cuts_at_spaces, cutters))


def drops_spaces(definition: dict[str, Any]) -> bool:
    """Return whether a tokenizer's pre-tokenizer first cuts at white space, and leaves it out."""
    cutters = steps_of(definition["pre_tokenizer"])
    return bool(cutters) and cutters[0]["type"] in _CUTTING


def _is_local(normalizer: dict[str, Any]) -> bool:
    name = normalizer["type"]
    if name == "Strip":
        return not normalizer["strip_left"]
    if name == "Replace":
        pattern = normalizer["pattern"]
        return pattern.get("Regex") in _LOCAL_PATTERNS or " " not in pattern.get("String", " ")
    return name in _LOCAL_NORMALIZERS


def _cuts_at_spaces(cutter: dict[str, Any]) -> bool:
    """Return whether a pre-tokenizer begins anew at a space, to which it looks only for what comes after it."""
    if cutter["type"] == "ByteLevel":
        return bool(cutter.get("use_regex", True))
    if cutter["type"] == "Metaspace":
        return bool(cutter.get("split", True))
    return cutter["type"] in _CUTTING
