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
from bertsmith.tokenizers.id_rows import put_rows
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

_SEPARATOR = "\U0010fffe"
"""What stands after each text where many are encoded as one, in half the time: no character, and no text has it."""


class GigatokenEngine:
    """gigatoken, for byte-level BPE and BPE with bytes in place of unknown characters."""

    def __init__(self, fast: tokenizers.Tokenizer, definition: dict[str, Any]):
        """Load the tokenizer; raises an exception where gigatoken is not installed or refuses it."""
        import gigatoken.gigatoken_rs  # here: only where there is a BPE

        self._fast, self._added = fast, AddedSearch(fast)
        self.name = f"gigatoken {version('gigatoken')}"
        self._separator_id = 1 + max(fast.get_vocab(with_added_tokens=True).values())
        own = json.dumps(_with_separator(definition, self._separator_id))
        self._encode = gigatoken.gigatoken_rs.load_hf_json(own).encode
        cutters = steps_of(definition["pre_tokenizer"])
        self._sees_starts = any(cutter.get("prepend_scheme") == "first" for cutter in cutters)

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and ends, as `IdEngine` says."""
        known = [as_text(text) for text in texts]
        normalized, others = (known, {}) if self._are_plain(known) else self._by_tokenizers(known)
        ids, ends = self._encode_all(normalized)
        return put_rows(ids, ends, others)

    def _encode_all(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        if self._sees_starts:  # what is after a separator is no start for it
            rows = [np.empty(0, dtype=np.uint32), *map(self._encode, texts)]
            return np.concatenate(rows), np.cumsum([len(row) for row in rows[1:]], dtype=np.int64)
        ids: np.ndarray = self._encode(_SEPARATOR.join([*texts, ""]))
        is_end = ids == self._separator_id
        ends = np.flatnonzero(is_end)
        return ids[~is_end], ends - np.arange(len(ends))

    def _are_plain(self, texts: list[str]) -> bool:
        """Return whether texts are normalized, and without what gigatoken must not see."""
        whole = "\n".join(texts)  # what is not in all of them is in none
        if whole.isascii():
            return self._added.keeps(whole) and not self._added.finds(whole, whole)
        not_ascii = "\n".join([text for text in texts if not text.isascii()])
        return self._added.keeps(not_ascii) and not self._added.finds(whole, whole) and not _is_odd(not_ascii)

    def _by_tokenizers(self, texts: list[str]) -> tuple[list[str], dict[int, list[int]]]:
        """Return the texts normalized, empty where gigatoken must not see them, and by number the ids of those."""
        shown = [self._added.normalized(text) for text in texts]
        found = {}
        for number, text in enumerate(texts):
            if self._added.finds(text, shown[number]) or _is_odd(shown[number]):
                shown[number] = ""
                found[number] = self._fast.encode(text, add_special_tokens=False).ids
        return shown, found


def _with_separator(definition: dict[str, Any], id: int) -> dict[str, Any]:
    """Return a definition with the separator for its only added token, and no normalizer."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": id, "content": _SEPARATOR, "special": True, **flags}]
    model = definition["model"] | {"vocab": definition["model"]["vocab"] | {_SEPARATOR: id}}
    return definition | {"normalizer": None, "added_tokens": added, "model": model}


def _is_odd(text: str) -> bool:
    """Return whether a text has new letters or the separator."""
    return not text.isascii() and bool(_SEPARATOR in text or (_MAYBE_NEW.search(text) and _NEW.search(text)))


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
