"""Documents in, tokens with their boundaries out, for each split: a pure function, and most of prepare's time."""

import re
from codecs import iterdecode
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from zlib import crc32

import numpy as np

from bertsmith.errors import UserError, quoted
from bertsmith.text.blank_lines import unify_line_ends
from bertsmith.text.shards import Shard
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS_BY_KEY
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.wordpiece import has_plain_marks

BATCH_BYTES = 4 << 20  # of text tokenized at once, and of the longest piece of a document; more is no faster

_LINE_END, _DOCUMENT_END = b" [SEP] ", b" [CLS] "
"""Marks in the tokenizer's input, found again in its output: a batch is then one text, which takes 30 % less time than
a list of its lines. Where a token of the tokenizer's own could span a mark, it is that list (`has_plain_marks`)."""


class Encoded(NamedTuple):
    """Documents as tokens, by split ("train" and "heldout").

    Attributes:
        counts: of both splits together: `documents`, `lines`, `tokens` and `bytes` (of text).
        skipped: documents in neither split, by reason.
    """

    splits: dict[str, Shard]
    counts: Counter[str]
    skipped: Counter[str]


def encode_documents(documents: Iterable[bytes], tokenizer: Tokenizer, heldout_fraction: float) -> Encoded:
    """Encode documents and find their lines; lines without a token, such as blank ones, are left out.

    A document's split depends on a hash of its bytes, without the white space around them: on average the share
    `heldout_fraction` goes to "heldout", and equal documents are in one split. (A cryptographic hash instead of CRC-32
    would take 4 % of the time.) A special token in a text ("[MASK]") is encoded as ordinary characters, as by the
    reference's tokenizer: with a space after its first and before its last one.
    """
    has_marks = tokenizer.special_tokens == SPECIAL_TOKENS_BY_KEY and has_plain_marks(tokenizer.fast)
    text = _Text(tokenizer) if has_marks else _Lines(tokenizer)
    skipped: Counter[str] = Counter()
    shares, sizes = [], []
    for document in documents:
        document = unify_line_ends(document.strip())
        if not _is_utf8(document):
            skipped["not UTF-8"] += 1
            continue
        text.add(document)
        shares.append(crc32(document))
        sizes.append(len(document))
    tokens, ends, closes = text.encoded()
    document_ends = ends[closes]
    full = np.diff(document_ends, prepend=0) > 0
    shard = Shard(tokens, ends[np.diff(ends, prepend=0) > 0], document_ends[full])
    heldout = np.array(shares, np.uint32)[full] < heldout_fraction * 2.0**32
    num_bytes = int(np.array(sizes, np.int64)[full].sum())
    counts = Counter(documents=len(heldout), lines=len(shard.line_ends), tokens=len(shard.tokens), bytes=num_bytes)
    skipped["empty"] = len(full) - len(heldout)
    return Encoded({"train": select(shard, ~heldout), "heldout": select(shard, heldout)}, counts, +skipped)


def check_marks(tokenizer: Tokenizer) -> None:
    """Raise UserError if white space between words is unknown to this tokenizer."""
    ids, _ = tokenizer.encode_batch([b" ", b"\n", b"\t"])
    if len(ids) and (tokenizer.kind == "WordPiece" or ids[0] == tokenizer.unk_id):
        raise UserError(
            f"vocab: its tokenizer makes tokens of white space, as {quoted(tokenizer.token(int(ids[0])), 40)}, so that "
            f"words and lines cannot be found; give it a pre-tokenizer such as BertPreTokenizer"
        )


def select(shard: Shard, chosen: np.ndarray) -> Shard:
    """Select the documents of `shard` where `chosen` ([documents] bool) is true, with new positions."""
    if chosen.all():
        return shard
    line_sizes, document_sizes = np.diff(shard.line_ends, prepend=0), np.diff(shard.document_ends, prepend=0)
    chosen_lines = chosen[np.searchsorted(shard.document_ends, shard.line_ends)]
    return Shard(
        shard.tokens[np.repeat(chosen, document_sizes)],
        np.cumsum(line_sizes[chosen_lines]),
        np.cumsum(document_sizes[chosen]),
    )


class _Text:
    """Documents that are encoded a batch at a time, with marks at the ends of lines and documents."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        tokens = {token.encode() for token in tokenizer.special_tokens.values() if len(token) > 2}
        self._special = re.compile(b"|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
        self._first_bytes = {token[:1] for token in tokens}
        self._batch: list[bytes] = []
        self._batch_size = 0
        self._tokens = [np.empty(0, tokenizer.dtype)]
        self._ends = [np.empty(0, np.int64)]
        self._closes = [np.empty(0, bool)]
        self._size = 0

    def add(self, document: bytes) -> None:
        for piece in (document,) if len(document) <= BATCH_BYTES else _pieces(document):
            self._batch.append(self._broken(piece))
            self._batch_size += len(piece)
            if self._batch_size >= BATCH_BYTES:
                self._encode()
        self._batch.append(_DOCUMENT_END)

    def _broken(self, text: bytes) -> bytes:
        """Return the text without special tokens, in each of which two spaces are put."""
        if not any(first in text for first in self._first_bytes):
            return text
        return self._special.sub(lambda found: b" ".join((found[0][:1], found[0][1:-1], found[0][-1:])), text)

    def encoded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens [T], the position after each line and document, and whether that is a document's."""
        self._encode()
        tokens, self._tokens = np.concatenate(self._tokens), []  # frees the pieces, which take as much again
        return tokens, np.concatenate(self._ends), np.concatenate(self._closes)

    def _encode(self) -> None:
        tokens, _ = self._tokenizer.encode_batch([b"".join(self._batch).replace(b"\n", _LINE_END)])
        self._batch, self._batch_size = [], 0
        is_mark = (tokens == self._tokenizer.sep_id) | (tokens == self._tokenizer.cls_id)
        marks = np.flatnonzero(is_mark)
        self._ends.append(marks - np.arange(len(marks)) + self._size)  # positions once the marks are out
        self._closes.append(tokens[marks] == self._tokenizer.cls_id)
        self._tokens.append(tokens[~is_mark])
        self._size += len(tokens) - len(marks)


class _Lines(_Text):
    """Documents that are encoded a line at a time, for tokenizers whose output may hold special tokens; in a document
    these become [UNK]."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer)
        self._never = np.array(sorted(set(tokenizer.control_ids)), tokenizer.dtype)

    def add(self, document: bytes) -> None:
        lines = self._broken(document).split(b"\n")
        self._batch += [b"" if line.isspace() else line for line in lines]
        self._closes.append(np.arange(len(lines)) == len(lines) - 1)
        self._batch_size += len(document)
        if self._batch_size >= BATCH_BYTES:
            self._encode()

    def _encode(self) -> None:
        ids, ends = self._tokenizer.encode_batch(self._batch)
        self._batch, self._batch_size = [], 0
        ids[np.isin(ids, self._never)] = self._tokenizer.unk_id
        self._tokens.append(ids)
        self._ends.append(ends + self._size)
        self._size += len(ids)


def _pieces(text: bytes) -> Iterator[bytes]:
    """Yield `text` in pieces of at most BATCH_BYTES that cut no line, else no word, else no character."""
    start = 0
    while len(text) - start > BATCH_BYTES:
        limit = start + BATCH_BYTES
        stop = text.rfind(b"\n", start, limit) + 1 or text.rfind(b" ", start, limit) + 1 or limit
        while text[stop] & 0xC0 == 0x80:
            stop -= 1
        yield text[start:stop]
        start = stop
    yield text[start:]


def _is_utf8(text: bytes) -> bool:
    try:
        if len(text) <= BATCH_BYTES:
            text.decode()
        else:
            for _ in iterdecode(
                (text[start : start + BATCH_BYTES] for start in range(0, len(text), BATCH_BYTES)), "utf-8"
            ):
                pass
    except UnicodeDecodeError:
        return False
    return True
