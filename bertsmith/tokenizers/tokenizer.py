"""WordPiece: a vocabulary file or a tokenizer file in, ids out, as transformers' fast BERT tokenizer gives them.

Two libraries share one definition: nanotoken turns text into ids (web text at 46 MB/s on one 2.5 GHz core, faster once
its cache is warm; `tokenizers` at 2.4), `tokenizers` reads and writes the files and gives character offsets.
`Tokenizer.check_against_reference` holds one to the other.
"""

import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nanotoken
import numpy as np
import tokenizers
from tokenizers import models, normalizers

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import sha256_json, write_text
from bertsmith.storage.json_files import write_json
from bertsmith.tokenizers import casing
from bertsmith.tokenizers.tokenizer_folder import Casing, Read, read_file, read_tokenizer_folder
from bertsmith.tokenizers.vocabulary_file import check_special_tokens, write_vocabulary
from bertsmith.tokenizers.wordpiece import SPECIAL_TOKENS, SPECIAL_TOKENS_BY_KEY, fill_holes, guarded, not_wordpiece

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""Written by `Tokenizer.save`."""

COMPAT_WORD_LENGTH = 200  # of google-research/electra, model/tokenization.py, WordpieceTokenizer


class Tokenizer:
    """Text ↔ ids for one vocabulary, one normalisation and one longest word; immutable.

    A text that literally holds a special token ("[MASK]" in a document about BERT) gets that token's id, as it does
    from transformers' BertTokenizerFast. Where a text must not bring special ids in, as in training data, the caller
    breaks them up first (`bertsmith.text.encoding` does).

    Attributes:
        fast: the same tokenizer in the `tokenizers` library: slower, with character offsets; no truncation, no padding.
        fingerprint: hex sha256 of what decides the ids (vocabulary, added tokens, normalisation, longest word): equal
            for a `vocab.txt` and a `tokenizer.json` that say the same.
        vocab_size: number of ids, 0 … vocab_size - 1.
        lowercase, strip_accents: of a BERT normaliser; None where a tokenizer file has a normaliser of its own.
    """

    def __init__(self, fast: tokenizers.Tokenizer, source: str = "tokenizer", read: Read | None = None) -> None:
        """Wrap `fast`; errors name `source`, and `read` has notes about its files.

        Raises:
            UserError: not a WordPiece tokenizer, a special token is missing, ids that are not each used once.
        """
        fast.no_truncation()
        fast.no_padding()
        fast = fill_holes(fast, source)
        self.fast = fast
        self._source, self._read = source, read
        self._tokens = _check_vocabulary(fast, source)
        _check_added_tokens(fast, source)
        self._ids = {token: id for id, token in enumerate(self._tokens)}
        self.vocab_size = len(self._tokens)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[token] for token in SPECIAL_TOKENS
        )
        definition = fast.to_str()
        self._encoder: nanotoken.WordPieceTokenizer = guarded(
            lambda: nanotoken.WordPieceTokenizer.from_json(definition), source, "use a BERT tokenizer"
        )
        self.fingerprint = _fingerprint(json.loads(definition), self._tokens)
        bert = isinstance(fast.normalizer, normalizers.BertNormalizer)
        self.lowercase: bool | None = fast.normalizer.lowercase if bert else None
        self.strip_accents: bool | None = fast.normalizer.strip_accents if bert else None

    @classmethod
    def load(
        cls, path: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None, compat: bool = False
    ) -> "Tokenizer":
        """Load the tokenizer of a `vocab.txt`, a `tokenizer.json`, or a folder with one of them, which is read as
        transformers' AutoTokenizer reads it (see `bertsmith.tokenizers.tokenizer_folder`).

        Args:
            lowercase: whether text is lower-cased; None: as the files say, and where they do not, if no word of the
                vocabulary has a capital.
            strip_accents: None: as the files say, and where they do not, if lower-casing, which is BERT's rule.
            compat: cut words of up to 200 characters, as the reference does, instead of 100.

        Raises:
            UserError: a file is missing, unreadable, not UTF-8, not a WordPiece tokenizer; the vocabulary lacks a
                special token; a key or class cannot be honoured; the files say another casing than the arguments.
        """
        path = Path(path)
        chosen = Casing(lowercase, strip_accents)
        if path.is_dir():
            if not any((path / name).is_file() for name in TOKENIZER_FILES[:2]):
                raise UserError(
                    f"{path}: no tokenizer.json and no vocab.txt in this folder; name the file or another folder"
                )
            read = read_tokenizer_folder(path, chosen)
        elif path.exists():
            read = read_file(path, chosen)
        else:
            raise UserError(f"{path}: no such file; name a vocab.txt, a tokenizer.json or a folder with one of them")
        if compat:
            read.fast.model.max_input_chars_per_word = COMPAT_WORD_LENGTH
        return cls(read.fast, str(path), read)

    @property
    def casing(self) -> str:
        """Whether text is lower-cased, and why, in words."""
        words = {True: "lower-cased", False: "cased", None: "normalized"}[self.lowercase]
        return words if self._read is None else f"{words} ({self._read.casing})"

    def notes(self) -> list[str]:
        """Return notes: lines of the vocabulary that belong to no token, pieces that no text can produce."""
        return [*(self._read.notes if self._read else ()), *casing.warnings(self._tokens, self.fast.normalizer)]

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts end to end, and where each text ends, without special tokens, on the calling
        thread.

        Args:
            texts: any sequence of str, or of bytes in UTF-8 (what is not UTF-8 becomes U+FFFD, which BERT's
                normalisation deletes).

        Returns:
            ids: [T] uint16 where the vocabulary allows, else uint32.
            ends: [len(texts)] int64; text i is `ids[ends[i - 1]:ends[i]]`.
        """
        ids, offsets = self._encoder.encode_batch(texts, add_special_tokens=False, parallel=False)
        return ids.astype(self.dtype, copy=False), offsets[1:]

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """Return a list of ids for each text."""
        ids, ends = self.encode_batch(texts)
        return [part.tolist() for part in np.split(ids, ends[:-1])] if len(ends) else []

    @property
    def dtype(self) -> np.dtype:
        """The type of ids: uint16 for up to 65,536 ids, else uint32."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def decode(self, ids: Iterable[int]) -> str:
        """Return readable text: pieces joined, special tokens shown."""
        return self.fast.decode([int(id) for id in ids], skip_special_tokens=False)

    def token(self, id: int) -> str:
        """Return the token with this id; IndexError where there is none."""
        return self._tokens[id]

    def id(self, token: str) -> int:
        """Return the id of this token; KeyError where there is none."""
        return self._ids[token]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, `vocab.txt` and the `tokenizer_config.json` that AutoTokenizer looks for."""
        write_text(folder / "tokenizer.json", self.fast.to_str(pretty=True))
        write_text(folder / "vocab.txt", write_vocabulary(self._tokens))
        write_json(folder / "tokenizer_config.json", self._transformers_config())

    def check_against_reference(self, texts: Iterable[str | bytes]) -> None:
        """Encode `texts` with both libraries; raises UserError with the first text on which they differ."""
        for number, text in enumerate(texts):
            text = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
            ids, _ = self.encode_batch([text])
            # One at a time: `encode_batch` of `tokenizers` starts threads, which do not survive a later fork.
            expected = self.fast.encode(text, add_special_tokens=False).ids
            if ids.tolist() != expected:
                raise UserError(
                    f"text {number} of the sample, {quoted(text, 60)}: nanotoken {version('nanotoken')} and tokenizers "
                    f"{tokenizers.__version__} disagree on its ids; install the versions in constraints.txt"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.fast,)

    def _transformers_config(self) -> dict[str, Any]:
        """Return transformers' configuration: `PreTrainedTokenizerFast` takes tokenizer.json as it is; `BertTokenizer`
        (transformers 5) would rebuild the tokenizer from its vocabulary and lose the word length. A special token is
        named only where it is one in texts: naming it makes it one."""
        added = {token.content for token in self.fast.get_added_tokens_decoder().values()}
        return {name: token for name, token in SPECIAL_TOKENS_BY_KEY.items() if token in added} | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
        }


def _check_added_tokens(fast: tokenizers.Tokenizer, source: str) -> None:
    """Raise UserError for added tokens on which the two libraries differ, or the slow one stops."""
    seen: dict[str, str] = {}
    for token in fast.get_added_tokens_decoder().values():
        content = token.content
        found = fast.normalizer.normalize_str(content) if token.normalized and fast.normalizer else content
        if not content.strip() or content != content.strip() or not found.strip():
            raise UserError(
                f"{source}: the added token {quoted(content, 60)} is empty, begins or ends with white space, or "
                f"vanishes when it is normalized; take it away"
            )
        if token.normalized and seen.setdefault(found, content) != content:
            raise UserError(
                f"{source}: the added tokens {quoted(seen[found], 60)} and {quoted(content, 60)} are one when they are "
                f"normalized; take one of them away"
            )


def _check_vocabulary(fast: tokenizers.Tokenizer, source: str) -> list[str]:
    """Return the tokens of `fast` in the order of their ids; raises UserError for a tokenizer that is not BERT's."""
    if not isinstance(fast.model, models.WordPiece):
        raise UserError(not_wordpiece(source, type(fast.model).__name__))
    ids = fast.get_vocab(with_added_tokens=True)
    check_special_tokens(ids, source)
    if fast.model.unk_token != "[UNK]" or fast.model.token_to_id("[UNK]") is None:
        raise UserError(
            f"{source}: unknown words become {quoted(fast.model.unk_token, 60)}; they must become [UNK] of the "
            f"vocabulary"
        )
    return sorted(ids, key=ids.__getitem__)


def explicit_normalizer(definition: dict[str, Any]) -> dict[str, Any] | None:
    """Return the normalizer of a tokenizer.json; of BERT's with strip_accents, which is as lowercase where it is
    null."""
    normalizer = definition["normalizer"]
    if normalizer and normalizer["type"] == "BertNormalizer" and normalizer["strip_accents"] is None:
        normalizer = normalizer | {"strip_accents": normalizer["lowercase"]}
    return normalizer


def _fingerprint(definition: dict[str, Any], tokens: list[str]) -> str:
    """Hash the parts that decide ids, each by name: keys that a later `tokenizers` adds must change nothing."""
    added = ("id", "content", "single_word", "lstrip", "rstrip", "normalized")
    model = ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
    parts = {
        "tokens": tokens,
        "added_tokens": [{key: token[key] for key in added} for token in definition["added_tokens"]],
        "model": {key: definition["model"][key] for key in model},
        "normalizer": explicit_normalizer(definition),
        "pre_tokenizer": definition["pre_tokenizer"],
    }
    return sha256_json(parts)
