"""A vocabulary or a tokenizer's files in, ids out, as transformers' fast tokenizers give them.

Two libraries share one definition: `tokenizers` reads and writes the files and gives character offsets; an engine turns
text into ids, for WordPiece nanotoken (web text at 46 MB/s on one 2.5 GHz core, faster once its cache is warm;
`tokenizers` at 2.4). `Tokenizer.check_against_reference` holds one to the other.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, normalizers

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import write_text
from bertsmith.storage.json_files import write_json
from bertsmith.tokenizers import casing
from bertsmith.tokenizers.bert_folder import Casing, Read
from bertsmith.tokenizers.definition import check_added_tokens, check_unknown, fill_holes
from bertsmith.tokenizers.engines import IdEngine, fastest_engine
from bertsmith.tokenizers.fingerprint import tokenizer_fingerprint
from bertsmith.tokenizers.pieces import find_pieces
from bertsmith.tokenizers.sentencepiece_file import convert_folder, has_sentencepiece_model
from bertsmith.tokenizers.special_tokens import ROLES, conclude_special_tokens
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS as SPECIAL_TOKENS
from bertsmith.tokenizers.templates import fit_template, num_separators, with_segments
from bertsmith.tokenizers.text_input import refuse_half_characters
from bertsmith.tokenizers.tokenizer_folder import VOCABULARY_FILES, read_file, read_tokenizer_folder
from bertsmith.tokenizers.vocabulary_file import write_vocabulary
from bertsmith.tokenizers.word_bounds import WordBounds

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""Written by `Tokenizer.save`; vocab.txt of WordPiece alone."""

COMPAT_WORD_LENGTH = 200  # of google-research/electra, model/tokenization.py, WordpieceTokenizer


class Tokenizer:
    """Text ↔ ids for one vocabulary, one normalisation and one longest word; immutable.

    A text that literally holds a special token ("[MASK]" in a document about BERT) gets that token's id, as it does
    from transformers' tokenizers. Where a text must not bring special ids in, as in training data, the caller breaks
    them up first (`bertsmith.text.encoding` does).

    Attributes:
        fast: the same tokenizer in the `tokenizers` library: slower, with character offsets; no truncation, no padding.
        kind: the type of its model: WordPiece, BPE, Unigram or WordLevel.
        special_tokens: key of tokenizer_config.json → token, as {"mask_token": "<mask>"}.
        fingerprint: hex sha256 of what decides the ids (vocabulary, added tokens, normalisation, longest word): equal
            for a `vocab.txt` and a `tokenizer.json` that say the same.
        vocab_size: number of ids, 0 … vocab_size - 1.
        word_bounds: which tokens of a row begin a word.
        num_separators: special tokens between two texts: 2 in RoBERTa's way.
        template_note: a line about what the files put around texts, where rows have something else; mostly empty.
        lowercase, strip_accents: of a BERT normaliser; None where a tokenizer file has a normaliser of its own.
    """

    def __init__(
        self,
        fast: tokenizers.Tokenizer,
        source: str = "tokenizer",
        read: Read | None = None,
        special_tokens: dict[str, str] | None = None,
    ) -> None:
        """Wrap `fast`; errors name `source`, and `read` has notes about its files. Special tokens are concluded where
        they are not given.

        Raises:
            UserError: there is no token for a role; ids that are not each used once.
        """
        fast.no_truncation()
        fast.no_padding()
        fast = fill_holes(fast, source)
        self.fast = fast
        self._source, self._read = source, read
        self._ids = fast.get_vocab()
        token_of = {id: token for token, id in self._ids.items()}  # of a Unigram's piece that stands twice, one place
        self._tokens = [token_of.get(id) or str(fast.id_to_token(id)) for id in range(1 + max(token_of, default=-1))]
        definition = json.loads(fast.to_str())
        self.special_tokens = special_tokens or conclude_special_tokens(
            fast, definition, read.names if read else {}, source
        )
        self.vocab_size = len(self._tokens)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[self.special_tokens[key]] for key in ROLES
        )
        self.kind: str = definition["model"]["type"]
        check_added_tokens(fast, source, self.kind == "WordPiece")
        if self.kind == "WordPiece":
            check_unknown(fast, self.special_tokens["unk_token"], source)
        self._pieces = find_pieces(definition, self._tokens, fast)
        self.word_bounds: WordBounds = self._pieces.bounds
        self.num_separators = num_separators(fast)
        had = fit_template(fast, self.special_tokens)
        self.template_note = had and f"warning: {source}: of two texts it makes {had}"
        self.fingerprint = tokenizer_fingerprint(definition, self._tokens, self.special_tokens)
        bert = isinstance(fast.normalizer, normalizers.BertNormalizer)
        self.lowercase: bool | None = fast.normalizer.lowercase if bert else None
        self.strip_accents: bool | None = fast.normalizer.strip_accents if bert else None

    @classmethod
    def load(
        cls, path: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None, compat: bool = False
    ) -> "Tokenizer":
        """Load the tokenizer of a `vocab.txt`, a `tokenizer.json`, or a folder with one of them, with a `vocab.json`
        and a `merges.txt`, or with SentencePiece's model, which is read as transformers' AutoTokenizer reads it (see
        `bertsmith.tokenizers.tokenizer_folder`).

        Args:
            lowercase: whether text is lower-cased; None: as the files say, and where they do not, if no word of the
                vocabulary has a capital.
            strip_accents: None: as the files say, and where they do not, if lower-casing, which is BERT's rule.
            compat: cut words of up to 200 characters, as the reference does, instead of 100.

        Raises:
            UserError: a file is missing, unreadable, not UTF-8, not a tokenizer's; the vocabulary lacks a special
                token; a key or class cannot be honoured; the files say another casing than the arguments.
        """
        path = Path(path)
        chosen = Casing(lowercase, strip_accents)
        if path.is_dir():
            if any((path / name).is_file() for name in VOCABULARY_FILES):
                read = read_tokenizer_folder(path, chosen)
            elif has_sentencepiece_model(path):
                read = convert_folder(path, chosen)
            else:
                raise UserError(
                    f"{path}: no tokenizer.json, no vocab.txt, no vocab.json with merges.txt and no model of "
                    f"SentencePiece in this folder; name the file or another folder"
                )
        elif path.exists():
            read = read_file(path, chosen)
        else:
            raise UserError(f"{path}: no such file; name a vocab.txt, a tokenizer.json or a folder with one of them")
        if compat and isinstance(read.fast.model, models.WordPiece):
            read.fast.model.max_input_chars_per_word = COMPAT_WORD_LENGTH
        return cls(read.fast, str(path / "tokenizer.json" if (path / "tokenizer.json").is_file() else path), read)

    @property
    def casing(self) -> str:
        """Whether text keeps its capitals and accents, and why, in words."""
        words = casing.in_words(self.fast.normalizer)
        return words if self._read is None else f"{words} ({self._read.casing})"

    def notes(self) -> list[str]:
        """Return notes: lines of the vocabulary that belong to no token, pieces that no text can produce."""
        is_bert = isinstance(self.fast.normalizer, normalizers.BertNormalizer)
        tokens = self._tokens if is_bert else self._pieces.texts
        if self._pieces.marking == "bytes":  # all bytes are there, whatever is normalized
            tokens = [token for token in tokens if len(token.strip()) > 1]
        own = [*(self._read.notes if self._read else ()), *([self.template_note] if self.template_note else ())]
        if self._pieces.is_unmarked:
            own.append(
                f"warning: {self._source}: its pieces do not say where words begin, so that whole_words and the test "
                f"of word order cannot know"
            )
        return [*own, *casing.warnings(tokens, self.fast.normalizer)]

    @cached_property
    def _engine(self) -> IdEngine:
        """What encodes texts; made when the first one comes, and training on token shards has none."""
        return fastest_engine(self.fast, json.loads(self.fast.to_str()), self._source)

    def encode_batch(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts end to end, and where each text ends, without special tokens, on the calling
        thread.

        Args:
            texts: any sequence of str, or of bytes in UTF-8 (what is not UTF-8 becomes U+FFFD, which BERT's
                normalisation deletes).

        Returns:
            ids: [T] uint16 where the vocabulary allows, else uint32.
            ends: [len(texts)] int64; text i is `ids[ends[i - 1]:ends[i]]`.

        Raises:
            UserError: a text holds half a character, a lone surrogate of UTF-16.
        """
        try:
            ids, ends = self._engine.encode_batch(texts)
        except (UnicodeEncodeError, TypeError):
            refuse_half_characters(texts)
            raise
        return ids.astype(self.dtype, copy=False), ends

    def encode_words(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of single words, each cut as it is inside of a text, after a space."""
        beginning = self.word_beginning
        return self.encode_batch([beginning + word for word in words] if beginning else words)

    def encode_with_offsets(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield of each text its ids [T], and where each token begins and ends in it, in characters, without the white
        space around it: [T, 2] int32. Raises UserError as `encode_batch`."""
        refuse_half_characters(texts)
        for text, encoded in zip(texts, self.fast.encode_batch(texts, add_special_tokens=False), strict=True):
            offsets = [_without_space(text, start, end) for start, end in encoded.offsets]
            yield np.array(encoded.ids, dtype=self.dtype), np.array(offsets, dtype=np.int32).reshape(-1, 2)

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

    @property
    def mask_token(self) -> str:
        """The mask as a text names it."""
        return self.special_tokens["mask_token"]

    @property
    def control_ids(self) -> tuple[int, int, int, int]:
        """The ids of [CLS], [SEP], [PAD] and [MASK], by whatever names: those that are never predicted."""
        return self.cls_id, self.sep_id, self.pad_id, self.mask_id

    @property
    def word_beginning(self) -> str:
        """What to put before a single word, so that it is cut as inside of a text."""
        return self._pieces.word_beginning

    @property
    def space_mark(self) -> str:
        """The character that stands for a space in pieces, of byte-level and "▁" ones."""
        return self._pieces.space_mark

    def text(self, id: int) -> str:
        """Return a token's characters in a text, with the space before it where that is its own."""
        return self._pieces.texts[id]

    def shown(self, id: int) -> str:
        """Return a token as people are shown it: as in the vocabulary, of byte-level ones the characters that the bytes
        are, with "▁" for a space before them."""
        return self._pieces.shown(id, self._tokens[id])

    def continues(self, shown: str, before: str = "") -> bool:
        """Return whether a token, as it is shown, is written without a space before it; `before` is the one there."""
        return self._pieces.continues(shown, before)

    def append(self, text: str, shown: str) -> str:
        """Return `text` with a token after it, given as it is shown."""
        return self._pieces.append(text, shown)

    def save(self, folder: Path, *, has_segments: bool = False) -> None:
        """Write `tokenizer.json`, the `tokenizer_config.json` that AutoTokenizer looks for, and of WordPiece
        `vocab.txt`; for a model that `has_segments`, the second of two texts is of segment 1, as in rows here."""
        fast = with_segments(self.fast, self.special_tokens) if has_segments else self.fast
        write_text(folder / "tokenizer.json", fast.to_str(pretty=True))
        if self.kind == "WordPiece":
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
                    f"text {number} of the sample, {quoted(text, 60)}: {self._engine.name} and tokenizers "
                    f"{tokenizers.__version__} disagree on its ids; install the versions in constraints.txt"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.fast, self._source, None, self.special_tokens)

    def _transformers_config(self) -> dict[str, Any]:
        """Return transformers' configuration: `PreTrainedTokenizerFast` takes tokenizer.json as it is; `BertTokenizer`
        (transformers 5) would rebuild the tokenizer from its vocabulary and lose the word length. A special token is
        named only where it is one in texts: naming it makes it one."""
        added = {token.content for token in self.fast.get_added_tokens_decoder().values()}
        return {name: token for name, token in self.special_tokens.items() if token in added} | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
        }


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a stretch of a text without the white space at its ends; of nothing else, its empty end."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
