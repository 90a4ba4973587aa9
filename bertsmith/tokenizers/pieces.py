"""What a vocabulary's pieces are in a text: their characters, how they are shown, and where words begin among them.

Vocabularies mark words in five ways, and a word is what the pre-tokenizer cuts off:
    prefix     WordPiece, some BPE: "##" at a piece inside of a word
    suffix     other BPE: "</w>" at a word's last piece
    bytes      byte-level BPE: a piece is bytes, a space among them, each written as a character ("Ġ" is the space)
    metaspace  Unigram, other BPE: "▁" in place of a space
    plain      words or characters, each of which counts as a word
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from bertsmith.tokenizers.definition import steps_of
from bertsmith.tokenizers.special_tokens import unknown_of
from bertsmith.tokenizers.word_bounds import WordBounds

SPACE_MARK = "▁"

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_UNPRINTABLE = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_UNPRINTABLE)}
"""Character of a byte-level vocabulary → byte. Source: openai/gpt-2, encoder.py, bytes_to_unicode."""

_SPACED = ("bytes", "metaspace")
"""The ways in which spaces belong to pieces."""

_LETTER, _SYMBOL, _SPACE, _ALONE, _INSIDE = 0, 4, 5, 6, 7
_SAMPLES = {_LETTER: "a", 1: "\u0301", 2: "1", 3: ",", _SYMBOL: "☺"}
"""Class of characters → one of them: letters, combining marks, digits, punctuation, symbols."""
_CLASSES = {"L": _LETTER, "M": 1, "N": 2, "P": 3, "S": _SYMBOL, "Z": _SPACE}
"""Beginning of a character's Unicode category → its class."""


class Pieces(NamedTuple):
    """The pieces of a vocabulary of V tokens."""

    marking: str
    """One of the five ways."""
    mark: str
    """The prefix or suffix; the character in place of a space."""
    texts: list[str]
    """[V], a piece's characters in a text, the space before it included; U+FFFD for bytes that are no character."""
    bounds: WordBounds
    """Which pieces begin a word."""
    word_beginning: str = ""
    """What to put before a single word, so that it is cut as inside of a text."""
    is_unmarked: bool = False
    """Whether words are cut into pieces that do not say where one begins."""

    @property
    def space_mark(self) -> str:
        """The character that stands for a space in pieces."""
        return self.mark if self.marking in _SPACED else " "

    def shown(self, id: int, token: str) -> str:
        """Return a token as people are shown it: where spaces belong to pieces, its characters, with "▁" for a space
        before them."""
        text = self.texts[id]
        if self.marking == "metaspace":
            return token.replace(self.mark, SPACE_MARK)
        if self.marking != "bytes" or not text or "\ufffd" in text:
            return token
        return SPACE_MARK + text[1:] if text.startswith(" ") else text

    def continues(self, shown: str, before: str = "") -> bool:
        """Return whether a token, as it is shown, is written without a space before it; `before` is the one there."""
        if self.marking == "prefix":
            return shown.startswith(self.mark)
        if self.marking == "suffix":
            return bool(before) and not before.endswith(self.mark)
        return self.marking in _SPACED and not shown.startswith(SPACE_MARK)

    def append(self, text: str, shown: str) -> str:
        """Return `text` with a token after it, with one space between them where it has a space before it."""
        if self.marking == "prefix":
            return text + shown.removeprefix(self.mark)
        if self.marking == "suffix":
            return text + shown.removesuffix(self.mark)
        if self.marking == "plain" or not shown.startswith(SPACE_MARK):
            return text + shown.replace(SPACE_MARK, " ")
        return (f"{text.rstrip()} " if text.strip() else "") + shown[1:].replace(SPACE_MARK, " ")


def cut_words(fast: tokenizers.Tokenizer, text: str) -> list[str]:
    """Return what normalizer and pre-tokenizer make of a text."""
    normalized = text if fast.normalizer is None else fast.normalizer.normalize_str(text)
    if fast.pre_tokenizer is None:
        return [normalized]
    return [word for word, _ in fast.pre_tokenizer.pre_tokenize_str(normalized)]


def find_pieces(definition: dict[str, Any], tokens: Sequence[str], fast: tokenizers.Tokenizer) -> Pieces:
    """Return what the pieces of a tokenizer are.

    Args:
        definition: the content of its tokenizer.json.
        tokens: by id, added ones included.
        fast: the library's object.
    """
    marking, mark = _marking(definition)
    added = {token["content"] for token in definition["added_tokens"]}
    if marking == "prefix":
        bounds = WordBounds.of_marked(np.array([token.startswith(mark) for token in tokens], dtype=bool))
        return Pieces(marking, mark, [token.removeprefix(mark) for token in tokens], bounds)
    if marking == "suffix":
        alone = np.array([token in added for token in tokens], dtype=np.int8)
        ended = np.array([token.endswith(mark) for token in tokens], dtype=np.int8)
        bounds = WordBounds(alone, ended | alone, np.array([[False, True], [True, True]]))
        return Pieces(marking, mark, [token.removesuffix(mark) for token in tokens], bounds)
    words = cut_words(fast, "a a")
    is_unmarked = len(words) > 1 and "".join(words) == "aa" and definition["model"]["type"] != "WordLevel"
    if marking == "plain":
        bounds = WordBounds.of_marked(np.zeros(len(tokens), dtype=bool))
        return Pieces(marking, mark, list(tokens), bounds, is_unmarked=is_unmarked)
    raw = [
        token.encode() if token in added else _bytes_of(token) if marking == "bytes" else _with_spaces(token, mark)
        for token in tokens
    ]
    edges = dict.fromkeys(added, b"") | {unknown_of(definition["model"]): "\ufffd".encode()}
    bounds = _by_character([edges.get(token, piece) for token, piece in zip(tokens, raw, strict=True)],
                           _cuts_between_classes(fast.pre_tokenizer, marking))  # fmt: skip
    texts = [piece.decode("utf-8", errors="replace") for piece in raw]
    return Pieces(marking, mark, texts, bounds, _word_beginning(fast), is_unmarked)


def _word_beginning(fast: tokenizers.Tokenizer) -> str:
    """Return what makes of a word alone what it is after another one. Where a tokenizer puts "▁" before every text,
    that is nothing: a space would be one too many."""
    first, both, *alone = ("".join(cut_words(fast, text)) for text in ("a", "a a", "a", " a"))
    return next((" " * n for n, word in enumerate(alone) if first + word == both), " ")


def _marking(definition: dict[str, Any]) -> tuple[str, str]:
    """Return how a tokenizer marks words, and its mark."""
    model = definition["model"]
    if prefix := model.get("continuing_subword_prefix"):
        return "prefix", prefix
    if suffix := model.get("end_of_word_suffix"):
        return "suffix", suffix
    parts = [part for key in ("pre_tokenizer", "normalizer", "decoder") for part in steps_of(definition.get(key))]
    if any(part.get("type") == "ByteLevel" for part in parts):
        return "bytes", "Ġ"
    for part in parts:
        if part.get("type") == "Metaspace":
            return "metaspace", part.get("replacement", SPACE_MARK)
        if part.get("type") == "Replace" and part.get("content") == SPACE_MARK:
            return "metaspace", SPACE_MARK
    return "plain", ""


def _bytes_of(token: str) -> bytes:
    return bytes(_BYTES[character] for character in token) if all(c in _BYTES for c in token) else token.encode()


def _with_spaces(token: str, mark: str) -> bytes:
    """Return a piece's characters; "<0x0A>" stands for a byte."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes.fromhex(token[3:5])
        except ValueError:
            pass
    return token.replace(mark, " ").encode()


def _by_character(pieces: Sequence[bytes], cut: np.ndarray) -> WordBounds:
    """Return the bounds of pieces by the classes of their first and last characters; an empty one is a word alone."""
    first, last = np.full(len(pieces), _ALONE, np.int8), np.full(len(pieces), _ALONE, np.int8)
    for id, piece in enumerate(pieces):
        text = piece.decode("utf-8", errors="replace")
        if text:
            first[id] = _INSIDE if 0x80 <= piece[0] < 0xC0 else _class_of(text[0])
            last[id] = _ALONE if text[-1].isspace() and text[-1] != " " else _class_of(text[-1])
    return WordBounds(first, last, cut)


def _class_of(character: str) -> int:
    """Return a character's class; U+FFFD, an unknown one or bytes of one, is taken for a letter."""
    if character == "\ufffd":
        return _LETTER
    return _SPACE if character.isspace() else _CLASSES.get(unicodedata.category(character)[0], _SYMBOL)


def _cuts_between_classes(pre_tokenizer: pre_tokenizers.PreTokenizer | None, marking: str) -> np.ndarray:
    """Return [8, 8] bool: whether a word begins between characters of two classes, as the pre-tokenizer cuts them."""
    cut = np.zeros((8, 8), dtype=bool)
    for one, left in _SAMPLES.items():
        for other, right in _SAMPLES.items():
            cut[one, other] = _cuts(pre_tokenizer, left, right)
    for other, right in _SAMPLES.items():  # "▁" is put before words, and belongs to what comes after it
        cut[_SPACE, other] = marking == "bytes" and _cuts(pre_tokenizer, " ", right)
    cut[:, _SPACE] = cut[_ALONE, :] = cut[:, _ALONE] = True
    cut[:, _INSIDE] = False
    return cut


def _cuts(pre_tokenizer: pre_tokenizers.PreTokenizer | None, left: str, right: str) -> bool:
    if pre_tokenizer is None:
        return False
    return any(start == len(left) for _, (start, end) in pre_tokenizer.pre_tokenize_str(left + right) if end > start)
