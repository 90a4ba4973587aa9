"""Ids of texts by the ids of their words, each of which is encoded once: several times the rate of `tokenizers`.

A text is cut at single spaces, and the ids of "a b" are those of "a" and of " b", one after the other. That is so where
normalizer and pre-tokenizer look at nothing across such a space; a text for which it may not be so is encoded whole.
The new words of many texts are encoded together, those of a Unigram by `piece_search`.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from bertsmith.tokenizers.added_search import AddedSearch
from bertsmith.tokenizers.definition import steps_of
from bertsmith.tokenizers.id_rows import put_rows
from bertsmith.tokenizers.piece_search import PieceSearch
from bertsmith.tokenizers.text_input import as_text

MAX_CACHED_WORDS = 500_000  # about 60 MB, of which text in one language fills half; with more, it begins anew
MAX_SEARCHED_LENGTH = 64  # characters; a longer one is hardly a word, and all words of a search take its steps
SEARCHED_AT_ONCE = 5000  # words, whose arrays stay in a core's cache

_INSEPARABLE = -1  # in place of the number of ids, of a word that has to be seen with what is beside it

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

    def __init__(self, fast: tokenizers.Tokenizer, definition: dict[str, Any]):
        """Begin with no words; `definition` is the content of the tokenizer's tokenizer.json."""
        self.name = f"bertsmith's cache over tokenizers {tokenizers.__version__}"
        self._fast = fast
        self._drops_spaces = _drops_spaces(definition)
        self._added = AddedSearch(fast)
        self._spaced = AddedSearch(fast, holding=" ")
        self._search = _word_search(fast, definition)
        self._has_easy = bool(self._search and self._added.keeps("a") and not any(map(str.isascii, self._search.cuts)))
        self._begin()

    def _begin(self) -> None:
        """Know no words."""
        self._new: list[str] = []  # words with a number and without ids, each with the space before it
        self._first, self._rest = _Numbers(self._new, ""), _Numbers(self._new, " ")
        self._ids, self._ends = np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64)
        self._sizes = np.empty(0, dtype=np.int64)

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and ends, as `IdEngine` says."""
        if len(self._sizes) > MAX_CACHED_WORDS:
            self._begin()
        try:
            return self._encode([as_text(text) for text in texts])
        except BaseException:  # words may have numbers and no ids
            self._begin()
            raise

    def _encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        numbers, counts, number_of = array("q"), array("q"), self._rest.__getitem__
        for text in texts:
            first, *rest = text.split(" ")
            numbers.append(self._first[first])
            numbers.extend(map(number_of, rest))
            counts.append(1 + len(rest))
        self._learn()
        words, text_ends = np.array(numbers, dtype=np.int64), np.cumsum(np.array(counts, dtype=np.int64))
        sizes = self._sizes[words]
        whole = np.unique(np.searchsorted(text_ends, np.flatnonzero(sizes == _INSEPARABLE), side="right")).tolist()
        if self._spaced.finds("\n".join(texts)):
            whole = sorted({*whole, *(number for number, text in enumerate(texts) if self._spaced.finds(text))})
        for number in whole:
            sizes[text_ends[number] - counts[number] : text_ends[number]] = 0
        ends = np.cumsum(sizes)
        places = np.arange(sizes.sum()) + np.repeat(self._ends[words] - ends, sizes)
        rows = {number: self._fast.encode(texts[number], add_special_tokens=False).ids for number in whole}
        return put_rows(self._ids[places], ends[text_ends - 1], rows)

    def _learn(self) -> None:
        """Find the ids of new words."""
        forms: dict[int, str] = {}  # number of a new word → what pieces are searched in
        rows: dict[int, list[int]] = {}
        inseparable: list[int] = []
        search = self._search
        has_easy = self._has_easy and not self._added.finds("\n".join(self._new))
        for number, word in enumerate(self._new):
            if search and has_easy and word.isascii() and word.isprintable() and 1 < len(word) <= MAX_SEARCHED_LENGTH:
                forms[number] = search.marked(word)
            elif not word or (word == " " and self._drops_spaces):
                rows[number] = []
            elif word == " " or (normalized := self._separate(word)) is None:
                inseparable.append(number)
            elif search and (form := search.form(normalized)):
                forms[number] = form
            else:
                rows[number] = self._whole(word)
        ids, sizes = self._search_in(forms)
        rows |= {number: self._whole(self._new[number]) for number in forms if not sizes[number]}
        ids, ends = put_rows(ids, np.cumsum(sizes), dict(sorted(rows.items())))
        sizes = np.diff(ends, prepend=0)
        sizes[inseparable] = _INSEPARABLE
        self._ends = np.concatenate([self._ends, ends + len(self._ids)])
        self._ids = np.concatenate([self._ids, ids])
        self._sizes = np.concatenate([self._sizes, sizes])
        self._new.clear()
        self._first.num_known = self._rest.num_known = len(self._sizes)

    def _search_in(self, forms: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids that are found for new words, by their numbers, and how many each of all new words has."""
        sizes = np.zeros(len(self._new), dtype=np.int64)
        numbers, words = [*forms], [*forms.values()]
        parts = [np.empty(0, dtype=np.uint32)]
        for start in range(0, len(words), SEARCHED_AT_ONCE):
            assert self._search, "else there are no such words"
            stop = start + SEARCHED_AT_ONCE
            ids, sizes[numbers[start:stop]] = self._search.pieces.encode(words[start:stop])
            parts.append(ids)
        return np.concatenate(parts), sizes

    def _whole(self, word: str) -> list[int]:
        ids: list[int] = self._fast.encode(word, add_special_tokens=False).ids
        return ids

    def _separate(self, word: str) -> str | None:
        """Return a word as it is normalized, with the space before it, if it is encoded the same whatever stands
        beside it."""
        normalized = self._added.normalized(word)
        if self._added.finds(word, normalized):
            return None
        for form in (word,) if normalized == word else (word, normalized):
            body = form.removeprefix(" ")
            if not body or form.startswith(" ") != word.startswith(" ") or body[0].isspace() or body[-1].isspace():
                return None
        ends_alone = word[-1] not in _JOINS_WHAT_FOLLOWS and normalized[-1] not in _JOINS_WHAT_FOLLOWS
        return normalized if ends_alone else None


class _Numbers(dict[str, int]):
    """Word → its number; a new one gets the next."""

    def __init__(self, new: list[str], before: str):
        super().__init__()
        self._new, self._before = new, before
        self.num_known = 0

    def __missing__(self, word: str) -> int:
        number = self[word] = self.num_known + len(self._new)
        self._new.append(self._before + word)
        return number


class _WordSearch(NamedTuple):
    """What finds the pieces of words that a pre-tokenizer leaves whole."""

    pieces: PieceSearch
    cuts: frozenset[str]
    """Characters at which the pre-tokenizer would cut."""
    mark: str
    """What it puts before a text that is one word."""
    space_mark: str
    """What it makes of a space before a word."""

    def form(self, word: str) -> str | None:
        """Return what pieces are found in for a word, with the space before it; None where it may be cut."""
        body = word.removeprefix(" ")
        if len(body) > MAX_SEARCHED_LENGTH or body.split() != [body] or not self.cuts.isdisjoint(body):
            return None
        return self.marked(word)

    def marked(self, word: str) -> str:
        """Return a word as the pre-tokenizer makes it, with the space before it."""
        return self.space_mark + word[1:] if word[0] == " " else self.mark + word


def _word_search(fast: tokenizers.Tokenizer, definition: dict[str, Any]) -> _WordSearch | None:
    """Return how pieces of a Unigram's words are found; None for other models, or what may cut words elsewhere."""
    model, cutters = definition["model"], steps_of(definition["pre_tokenizer"])
    if model["type"] != "Unigram" or any(cutter["type"] not in ("WhitespaceSplit", "Metaspace") for cutter in cutters):
        return None
    if not all(math.isfinite(score) for _, score in model["vocab"]):
        return None
    marks = []
    for text in ("a", " a"):
        (word, _), *others = fast.pre_tokenizer.pre_tokenize_str(text)
        if others or not word.endswith("a"):
            return None
        marks.append(word[:-1])
    cuts = frozenset(cutter["replacement"] for cutter in cutters if "replacement" in cutter)
    return _WordSearch(PieceSearch(model["vocab"], model["unk_id"]), cuts, *marks)


def encodes_by_words(definition: dict[str, Any]) -> bool:
    """Return whether a tokenizer, whose tokenizer.json has the content `definition`, looks at nothing across a single
    space."""
    cutters = steps_of(definition["pre_tokenizer"])
    if not all(map(_is_local, steps_of(definition["normalizer"]))):
        return False
    if not all(cutter["type"] in _BESIDE or _cuts_at_spaces(cutter) for cutter in cutters):
        return False
    return any(map(_cuts_at_spaces, cutters))


def _drops_spaces(definition: dict[str, Any]) -> bool:
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
