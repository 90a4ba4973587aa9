"""Texts in, ids out, fast: by the library that gives the ids of `tokenizers` soonest for a kind of model."""

import contextlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import nanotoken
import numpy as np
import tokenizers

from bertsmith.errors import UserError, quoted
from bertsmith.tokenizers.added_search import AddedSearch
from bertsmith.tokenizers.definition import guarded, steps_of
from bertsmith.tokenizers.word_cache import WordCache, drops_spaces, encodes_by_words


class IdEngine(Protocol):
    """What encodes texts, on the calling thread."""

    name: str
    """The library, with its version."""

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts end to end, without special tokens, and where each text ends: [T] unsigned
        integers, [len(texts)] int64. What is not UTF-8 becomes U+FFFD."""


def fastest_engine(fast: tokenizers.Tokenizer, definition: dict[str, Any], source: str) -> IdEngine:
    """Return the fastest engine for `fast`, whose tokenizer.json has the content `definition`."""
    if definition["model"]["type"] == "WordPiece":
        with contextlib.suppress(UserError):  # it knows BERT's rules alone
            return _Nanotoken(fast, source)
    if definition["model"]["type"] == "BPE" and _is_for_gigatoken(definition):
        with contextlib.suppress(Exception):  # not installed (the extra bpe), or a regular expression unknown to it
            return _Gigatoken(fast, definition)
    if encodes_by_words(definition):
        return _ByWords(fast, drops_spaces(definition))
    return _Library(fast)


def refuse_half_characters(texts: Sequence[str] | Sequence[bytes]) -> None:
    """Raise UserError where a text has a lone surrogate, which no library encodes."""
    for number, text in enumerate(texts, start=1):
        if isinstance(text, str) and not text.isascii() and (found := _SURROGATE.search(text)):
            raise UserError(
                f"text {number}: half a character ({quoted(found[0])}), as where an emoji was cut in two, or bytes "
                f"that are not UTF-8; fix the text"
            )


_SURROGATE = re.compile("[\ud800-\udfff]")


class _Nanotoken:
    """nanotoken, for WordPiece."""

    def __init__(self, fast: tokenizers.Tokenizer, source: str):
        self.name = f"nanotoken {version('nanotoken')}"
        self._encoder: nanotoken.WordPieceTokenizer = guarded(
            lambda: nanotoken.WordPieceTokenizer.from_json(fast.to_str()), source, "use a BERT tokenizer"
        )

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = self._encoder.encode_batch(texts, add_special_tokens=False, parallel=False)
        return ids, offsets[1:]


class _Gigatoken:
    """gigatoken, for byte-level BPE and BPE with bytes in place of unknown characters. A text with an added token in it
    goes to `tokenizers`: ModernBERT's runs of spaces before a mask came out otherwise."""

    def __init__(self, fast: tokenizers.Tokenizer, definition: dict[str, Any]):
        import gigatoken.gigatoken_rs  # here: only where there is a BPE

        self._fast, self._added = fast, AddedSearch(fast)
        self.name = f"gigatoken {version('gigatoken')}"
        self._encode = gigatoken.gigatoken_rs.load_hf_json(json.dumps(definition)).encode

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = [np.empty(0, dtype=np.uint32), *(self._ids(_text(text)) for text in texts)]
        return np.concatenate(rows), np.cumsum([len(row) for row in rows[1:]], dtype=np.int64)

    def _ids(self, text: str) -> np.ndarray:
        if self._added.finds(text):
            return np.array(self._fast.encode(text, add_special_tokens=False).ids, dtype=np.uint32)
        ids: np.ndarray = self._encode(text)
        return ids


def _is_for_gigatoken(definition: dict[str, Any]) -> bool:
    """Return whether gigatoken has all rules of a BPE. Of those that it does not have it refuses some and leaves others
    out: digits beside a regular expression, what becomes of its matches, `use_regex`, a byte without a token."""
    model, cutters = definition["model"], steps_of(definition["pre_tokenizer"])
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    kinds = [cutter["type"] for cutter in cutters]
    if not model.get("byte_fallback"):
        if kinds == ["ByteLevel"]:
            return bool(cutters[0].get("use_regex", True))
        if kinds != ["Split", "ByteLevel"]:
            return False
        split, byte_level = cutters
        is_cut = "Regex" in split["pattern"] and split["behavior"] == "Isolated" and not split["invert"]
        return is_cut and not byte_level["add_prefix_space"] and not byte_level.get("use_regex", True)
    if not model["vocab"].keys() >= _BYTE_TOKENS or any("".join(merge) in _BYTE_TOKENS for merge in model["merges"]):
        return False
    steps = {part["type"] for part in steps_of(definition["normalizer"])}
    return kinds in ([], ["Metaspace"]) and steps <= {"Prepend", "Replace"}


_BYTE_TOKENS = {f"<0x{byte:02X}>" for byte in range(256)}


class _ByWords:
    """`tokenizers` through a cache of words."""

    def __init__(self, fast: tokenizers.Tokenizer, drops_spaces: bool):
        self.name = f"bertsmith's cache over tokenizers {tokenizers.__version__}"
        self._cache = WordCache(fast, drops_spaces)

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = [self._cache.encode(_text(text)) for text in texts]
        ends = np.cumsum([len(row) // 4 for row in rows], dtype=np.int64)
        return np.frombuffer(bytearray(b"".join(rows)), dtype=np.uint32), ends


class _Library:
    """`tokenizers` itself, a text at a time: its batches start threads, which do not survive a later fork."""

    def __init__(self, fast: tokenizers.Tokenizer):
        self.name = f"tokenizers {tokenizers.__version__}"
        self._fast = fast

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = [self._fast.encode(_text(text), add_special_tokens=False).ids for text in texts]
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return np.array([id for row in rows for id in row], dtype=np.uint32), ends


def _text(text: str | bytes) -> str:
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
