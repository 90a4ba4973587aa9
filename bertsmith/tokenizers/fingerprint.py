"""A tokenizer's hash: of what decides its ids, and of nothing else."""

from typing import Any

import numpy as np

from bertsmith.storage.files import sha256_json
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS_BY_KEY


def explicit_normalizer(definition: dict[str, Any]) -> dict[str, Any] | None:
    """Return the normalizer of a tokenizer.json; of BERT's with strip_accents, which is as lowercase where it is
    null."""
    normalizer = definition["normalizer"]
    if normalizer and normalizer["type"] == "BertNormalizer" and normalizer["strip_accents"] is None:
        normalizer = normalizer | {"strip_accents": normalizer["lowercase"]}
    return normalizer


_MODEL_KEYS = {
    "WordPiece": ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"),
    "BPE": ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
            "ignore_merges", "merges"),
    "Unigram": ("unk_id", "byte_fallback", "vocab"),
    "WordLevel": ("unk_token",),
}  # fmt: skip
"""Kind → keys of its model that decide ids, besides the tokens."""


def tokenizer_fingerprint(definition: dict[str, Any], tokens: list[str], special_tokens: dict[str, str]) -> str:
    """Hash the parts that decide ids, each by name: keys that a later `tokenizers` adds must change nothing."""
    added = ("id", "content", "single_word", "lstrip", "rstrip", "normalized")
    model = definition["model"]
    parts = {
        "tokens": tokens,
        "added_tokens": [{key: token[key] for key in added} for token in definition["added_tokens"]],
        "model": {key: _as_read(model.get(key), key) for key in _MODEL_KEYS[model["type"]]},
        "normalizer": explicit_normalizer(definition),
        "pre_tokenizer": definition["pre_tokenizer"],
    }
    if special_tokens != SPECIAL_TOKENS_BY_KEY:  # so that fingerprints of data made before others were read stay
        parts["special_tokens"] = special_tokens
    if model["type"] != "WordPiece":
        parts["kind"] = model["type"]
    return sha256_json(parts)


def _as_read(value: Any, key: str) -> Any:
    """Return a value of a model: of a Unigram's scores, 32 bits, as SentencePiece has them. The library reads the last
    of 64 not as it has written them."""
    if key != "vocab":
        return value
    return [[piece, float(np.float32(score))] for piece, score in value]
