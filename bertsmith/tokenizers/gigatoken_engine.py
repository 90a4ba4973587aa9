"""Ids of a BPE by gigatoken, where it has all rules of the file: the many texts without an added token or a new letter.

It is given text that `tokenizers` has normalized, whose tables of composed characters are others. Texts with added
tokens go to `tokenizers`: ModernBERT's runs of spaces before a mask came out otherwise.
"""

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import tokenizers

from bertsmith.tokenizers.added_search import AddedSearch
from bertsmith.tokenizers.definition import steps_of
from bertsmith.tokenizers.text_input import as_text

_NEW_BELOW = "\u088f\u0c5c\u0cdc\u1acf-\u1add\u1ae0-\u1aeb\ua7ce\ua7cf\ua7d2\ua7d4\ua7f1"
_NEW = re.compile(
    f"[{_NEW_BELOW}\U00010940-\U00010959\U00010ec5-\U00010ec7\U00010efa\U00010efb\U00011b60-\U00011b67"
    "\U00011db0-\U00011ddb\U00011de0-\U00011de9\U00016ea0-\U00016eb8\U00016ebb-\U00016ed3\U00016ff2-\U00016ff6"
    "\U000187f8-\U000187ff\U00018d09-\U00018d1e\U00018d80-\U00018df2\U0001e6c0-\U0001e6de\U0001e6e0-\U0001e6f5"
    "\U0001e6fe\U0001e6ff\U0002b73a-\U0002b73f\U0002cea2-\U0002cead\U000323b0-\U00033479]"
)
"""Letters, marks and numbers since Unicode 17, by which gigatoken 0.10 cuts words and `tokenizers` 0.23 does not."""
_MAYBE_NEW = re.compile(f"[{_NEW_BELOW}\U00010940-\U00033479]")
"""These and others, emoji among them: a seventh of the time."""

_BYTE_TOKENS = {f"<0x{byte:02X}>" for byte in range(256)}


class GigatokenEngine:
    """gigatoken, for byte-level BPE and BPE with bytes in place of unknown characters."""

    def __init__(self, fast: tokenizers.Tokenizer, definition: dict[str, Any]):
        """Load the tokenizer; raises an exception where gigatoken is not installed or refuses it."""
        import gigatoken.gigatoken_rs  # here: only where there is a BPE

        self._fast, self._added = fast, AddedSearch(fast)
        self.name = f"gigatoken {version('gigatoken')}"
        self._encode = gigatoken.gigatoken_rs.load_hf_json(json.dumps(definition | {"normalizer": None})).encode

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and ends, as `IdEngine` says."""
        known = [as_text(text) for text in texts]
        whole = "\n".join(known)
        is_plain = self._added.keeps(whole) and not self._added.finds(whole, whole) and not _has_new(whole)
        rows = map(self._encode if is_plain else self._ids, known)  # what is not in all of them is in none
        found = [np.empty(0, dtype=np.uint32), *rows]
        return np.concatenate(found), np.cumsum([len(row) for row in found[1:]], dtype=np.int64)

    def _ids(self, text: str) -> np.ndarray:
        normalized = self._added.normalized(text)
        if self._added.finds(text, normalized) or _has_new(normalized):
            return np.array(self._fast.encode(text, add_special_tokens=False).ids, dtype=np.uint32)
        ids: np.ndarray = self._encode(normalized)
        return ids


def _has_new(text: str) -> bool:
    return not text.isascii() and bool(_MAYBE_NEW.search(text) and _NEW.search(text))


def has_all_rules(definition: dict[str, Any]) -> bool:
    """Return whether gigatoken has all rules of a BPE but its normalizer. Of others it refuses some and leaves some
    out: digits beside a regular expression, what becomes of its matches, `use_regex`; beside bytes for unknown
    characters `ignore_merges`, or a byte without a token."""
    model, cutters = definition["model"], steps_of(definition["pre_tokenizer"])
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    kinds = [cutter["type"] for cutter in cutters]
    if model.get("byte_fallback"):
        has_bytes = model["vocab"].keys() >= _BYTE_TOKENS
        is_merged = any("".join(merge) in _BYTE_TOKENS for merge in model["merges"])
        return kinds in ([], ["Metaspace"]) and has_bytes and not is_merged and not model.get("ignore_merges")
    if kinds == ["ByteLevel"]:
        return bool(cutters[0].get("use_regex", True))
    if kinds != ["Split", "ByteLevel"]:
        return False
    split, byte_level = cutters
    is_cut = "Regex" in split["pattern"] and split["behavior"] == "Isolated" and not split["invert"]
    return is_cut and not byte_level["add_prefix_space"] and not byte_level.get("use_regex", True)
