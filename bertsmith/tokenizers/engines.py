"""Texts in, ids out, fast: by the library that gives the ids of `tokenizers` soonest for a kind of model."""

import contextlib
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import nanotoken
import numpy as np
import tokenizers

from bertsmith.errors import UserError
from bertsmith.tokenizers.definition import guarded
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
    if definition["model"]["type"] == "BPE":
        with contextlib.suppress(Exception):  # not installed (the extra bpe), or a kind of BPE that it does not know
            return _Gigatoken(fast, definition)
    if encodes_by_words(definition):
        return _ByWords(fast, drops_spaces(definition))
    return _Library(fast)


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

        self._fast = fast
        contents = [re.escape(token["content"]) for token in definition["added_tokens"]]
        self._added = re.compile("|".join(contents) or r"(?!)")
        self.name = f"gigatoken {version('gigatoken')}"
        self._encode = gigatoken.gigatoken_rs.load_hf_json(fast.to_str()).encode

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = [np.empty(0, dtype=np.uint32), *(self._ids(_text(text)) for text in texts)]
        return np.concatenate(rows), np.cumsum([len(row) for row in rows[1:]], dtype=np.int64)

    def _ids(self, text: str) -> np.ndarray:
        normalizer = self._fast.normalizer
        normalized = (
            text if normalizer is None or (text.isascii() and text.islower()) else normalizer.normalize_str(text)
        )
        if self._added.search(text) or (normalized is not text and self._added.search(normalized)):
            return np.array(self._fast.encode(text, add_special_tokens=False).ids, dtype=np.uint32)
        ids: np.ndarray = self._encode(text)
        return ids


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
