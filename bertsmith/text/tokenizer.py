"""WordPiece: a vocabulary file or a tokenizer file in, ids out, as transformers' fast BERT tokenizer gives them.

Two libraries share one definition: nanotoken turns text into ids (web text at 46 MB/s on one 2.5 GHz core, faster once
its cache is warm; `tokenizers` at 2.4), `tokenizers` reads and writes the files and gives character offsets.
`Tokenizer.check_against_reference` holds one to the other.
"""

import json
from collections.abc import Container, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nanotoken
import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bertsmith.errors import UserError
from bertsmith.files import reported, sha256_json, write_text
from bertsmith.json_files import write_json

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""What every vocabulary must hold."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""What `Tokenizer.save` writes."""

WORD_LENGTH = 100
"""Characters of the longest word that is cut into pieces; a longer one becomes [UNK] (Hugging Face's value)."""

COMPAT_WORD_LENGTH = 200
"""The same in google-research/electra, model/tokenization.py, WordpieceTokenizer."""


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

    def __init__(self, fast: tokenizers.Tokenizer, source: str = "tokenizer") -> None:
        """Take `fast` for the definition; `source` is what errors name.

        Raises:
            UserError: not a WordPiece tokenizer, a special token is missing, ids that are not each used once.
        """
        fast.no_truncation()
        fast.no_padding()
        self.fast = fast
        self._tokens = _check_vocabulary(fast, source)
        self._ids = {token: id for id, token in enumerate(self._tokens)}
        self.vocab_size = len(self._tokens)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[token] for token in SPECIAL_TOKENS
        )
        definition = fast.to_str()
        try:
            self._encoder = nanotoken.WordPieceTokenizer.from_json(definition)
        except ValueError as error:
            raise UserError(f"{source}: {error}; use a BERT tokenizer") from None
        self.fingerprint = _fingerprint(json.loads(definition), self._tokens)
        bert = isinstance(fast.normalizer, normalizers.BertNormalizer)
        self.lowercase: bool | None = fast.normalizer.lowercase if bert else None
        self.strip_accents: bool | None = fast.normalizer.strip_accents if bert else None

    @classmethod
    def load(
        cls, path: str | Path, *, lowercase: bool = True, strip_accents: bool | None = None, compat: bool = False
    ) -> "Tokenizer":
        """The tokenizer of a `vocab.txt`, a `tokenizer.json`, or a folder with one of them (`tokenizer.json` first).

        Args:
            path: the file or folder.
            lowercase, strip_accents: for a `vocab.txt`; None strips accents when lower-casing, BERT's rule. A file that
                says its own casing decides instead: `tokenizer.json`, or `tokenizer_config.json` in the folder.
            compat: cut words of up to 200 characters, as the reference does, instead of 100.

        Raises:
            UserError: the file is missing, unreadable, not UTF-8, not a WordPiece tokenizer; the vocabulary lacks a
                special token, or holds a token twice.
        """
        file = _find(Path(path))
        if file.suffix == ".json":
            fast = _read_tokenizer(file)
        else:
            casing = {"lowercase": lowercase, "strip_accents": strip_accents}
            fast = build(_read_vocabulary(file), **(casing | _casing(Path(path))))
        if compat:
            fast.model.max_input_chars_per_word = COMPAT_WORD_LENGTH
        return cls(fast, str(file))

    def encode_batch(self, texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, and where each text ends, on the calling thread and without special tokens.

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
        """The same ids, a list a text."""
        ids, ends = self.encode_batch(texts)
        return [part.tolist() for part in np.split(ids, ends[:-1])] if len(ends) else []

    @property
    def dtype(self) -> np.dtype:
        """Of ids on disk and from `encode_batch`: uint16 for up to 65,536 ids, else uint32."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def decode(self, ids: Iterable[int]) -> str:
        """Text for people to read: pieces joined, special tokens kept visible."""
        return self.fast.decode([int(id) for id in ids], skip_special_tokens=False)

    def token(self, id: int) -> str:
        """The token with this id; IndexError where there is none."""
        return self._tokens[id]

    def id(self, token: str) -> int:
        """The id of this token; KeyError where there is none."""
        return self._ids[token]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, `vocab.txt` and the `tokenizer_config.json` that AutoTokenizer looks for."""
        write_text(folder / "tokenizer.json", self.fast.to_str(pretty=True))
        write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in self._tokens))
        write_json(folder / "tokenizer_config.json", self._transformers_config())

    def check_against_reference(self, texts: Iterable[str | bytes]) -> None:
        """Encode `texts` with both libraries.

        Raises:
            UserError: they differ; the first text that differs is shown.
        """
        for number, text in enumerate(texts):
            text = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
            ids, _ = self.encode_batch([text])
            # One at a time: `encode_batch` of `tokenizers` starts threads, which do not survive a later fork.
            expected = self.fast.encode(text, add_special_tokens=False).ids
            if ids.tolist() != expected:
                raise UserError(
                    f"text {number} of the sample, {text[:60]!r}…: nanotoken {version('nanotoken')} and tokenizers "
                    f"{tokenizers.__version__} disagree on its ids; install the versions in constraints.txt"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.fast,)

    def _transformers_config(self) -> dict[str, Any]:
        """`PreTrainedTokenizerFast` takes tokenizer.json as it is; `BertTokenizer` (transformers 5) would build the
        tokenizer anew from its vocabulary and lose the word length."""
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        return dict(zip(names, SPECIAL_TOKENS, strict=True)) | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
        }


def build(tokens: Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None) -> tokenizers.Tokenizer:
    """BERT's tokenizer over `tokens` (id = place in the list), equal to transformers' BertTokenizerFast."""
    ids = {token: id for id, token in enumerate(tokens)}
    fast = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=WORD_LENGTH))
    fast.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece(prefix="##")
    fast.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
    if "[CLS]" in ids and "[SEP]" in ids:
        fast.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
        )
    return fast


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ("tokenizer.json", "vocab.txt"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: no tokenizer.json and no vocab.txt in this folder; name the file or another folder")


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a vocab.txt, a tokenizer.json or a folder with one of them")
    with reported(path):
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 at byte {error.start}; convert it, or name another file") from None


def _read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    text = _read(path)
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{path}: not a tokenizer.json ({error}); name one of a BERT model, or a vocab.txt") from None


def _read_vocabulary(path: Path) -> list[str]:
    """Tokens in the order of their ids: one a line, white space after them ignored, as `tokenizers` reads it."""
    tokens = [line.rstrip() for line in _read(path).removesuffix("\n").split("\n")]
    first: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if not token:
            raise UserError(f"{path}, line {line}: empty; a vocabulary has one token a line")
        if first.setdefault(token, line) != line:
            raise UserError(
                f"{path}, line {line}: {token!r} is there already, in line {first[token]}; remove one of them"
            )
    _check_special_tokens(first, str(path))
    return tokens


def _casing(folder: Path) -> dict[str, bool | None]:
    """What the tokenizer_config.json of a Hugging Face folder, if there is one, says of `build`'s arguments."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(_read(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); mend or remove it") from None
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    said = {name: config.get(key) for key, name in names.items()} if isinstance(config, dict) else {}
    if not all(value in (True, False, None) for value in said.values()):
        raise UserError(f"{path}: do_lower_case and strip_accents must be true, false or absent; mend or remove it")
    return {name: value for name, value in said.items() if value is not None}


def _check_special_tokens(tokens: Container[str], source: str) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise UserError(f"{source}: no {', '.join(missing)} in this vocabulary; BERT needs {' '.join(SPECIAL_TOKENS)}")


def _check_vocabulary(fast: tokenizers.Tokenizer, source: str) -> list[str]:
    """The tokens of `fast` in the order of their ids; raises UserError for what `Tokenizer` cannot be built on."""
    if not isinstance(fast.model, models.WordPiece):
        kind = type(fast.model).__name__
        raise UserError(
            f"{source}: a {kind} tokenizer; bertsmith reads WordPiece alone, so take a model with such a vocabulary, "
            f"as BERT's and ELECTRA's are"
        )
    ids = fast.get_vocab(with_added_tokens=True)
    _check_special_tokens(ids, source)
    if fast.model.unk_token != "[UNK]" or fast.model.token_to_id("[UNK]") is None:
        raise UserError(
            f"{source}: unknown words become {fast.model.unk_token!r}; they must become [UNK] of the vocabulary"
        )
    tokens = sorted(ids, key=ids.__getitem__)
    for expected, token in enumerate(tokens):
        if ids[token] != expected:
            fault = f"no token has id {expected}" if ids[token] > expected else f"{token!r} shares id {ids[token]}"
            raise UserError(
                f"{source}: {fault}; ids must be 0 to {len(tokens) - 1}, each once (a token was there twice?)"
            )
    return tokens


def _fingerprint(definition: dict[str, Any], tokens: list[str]) -> str:
    """Of the parts that decide ids, each by name: what a later `tokenizers` adds to its files must change nothing."""
    added = ("id", "content", "single_word", "lstrip", "rstrip", "normalized")
    model = ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
    normalizer = definition["normalizer"]
    if normalizer and normalizer["type"] == "BertNormalizer" and normalizer["strip_accents"] is None:
        normalizer = normalizer | {"strip_accents": normalizer["lowercase"]}
    parts = {
        "tokens": tokens,
        "added_tokens": [{key: token[key] for key in added} for token in definition["added_tokens"]],
        "model": {key: definition["model"][key] for key in model},
        "normalizer": normalizer,
        "pre_tokenizer": definition["pre_tokenizer"],
    }
    return sha256_json(parts)
