"""Texts in, ids out, fast: by the library that gives the ids of `tokenizers` soonest for a kind of model."""

import contextlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import nanotoken
import numpy as np
import tokenizers

from bertsmith.errors import UserError
from bertsmith.tokenizers.definition import guarded
from bertsmith.tokenizers.gigatoken_engine import GigatokenEngine, has_all_rules
from bertsmith.tokenizers.text_input import as_text
from bertsmith.tokenizers.word_cache import WordCache, encodes_by_words


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
    if definition["model"]["type"] == "BPE" and has_all_rules(definition):
        with contextlib.suppress(Exception):  # not installed (the extra bpe), or a regular expression unknown to it
            return GigatokenEngine(fast, definition)
    if encodes_by_words(definition):
        return WordCache(fast, definition)
    return _Library(fast)


CACHED_WORDS = 1 << 18
"""In each of nanotoken's two caches, a quarter of its default: a worker of `prepare` holds 60 to 90 MB less, and new
text is encoded up to a fifth more slowly (docs/log.md)."""


class _Nanotoken:
    """nanotoken, for WordPiece."""

    def __init__(self, fast: tokenizers.Tokenizer, source: str):
        nanotoken.set_cache_entries(CACHED_WORDS)
        self.name = f"nanotoken {version('nanotoken')}"
        self._encoder: nanotoken.WordPieceTokenizer = guarded(
            lambda: nanotoken.WordPieceTokenizer.from_json(fast.to_str()), source, "use a BERT tokenizer"
        )

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = self._encoder.encode_batch(texts, add_special_tokens=False, parallel=False)
        return ids, offsets[1:]


class _Library:
    """`tokenizers` itself, a text at a time: its batches start threads, which do not survive a later fork."""

    def __init__(self, fast: tokenizers.Tokenizer):
        self.name = f"tokenizers {tokenizers.__version__}"
        self._fast = fast

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = [self._fast.encode(as_text(text), add_special_tokens=False).ids for text in texts]
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return np.array([id for row in rows for id in row], dtype=np.uint32), ends
