"""Documents in, tokens with their boundaries out, for each split: a pure function, and most of prepare's time."""

import hashlib
import re
from codecs import iterdecode
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bertsmith.text.shards import Shard
from bertsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer

BATCH_BYTES = 4 << 20
"""Of text handed to the tokenizer at once, and the longest piece of a document: more is no faster and takes memory."""

_LINE_END = b" [SEP] "
"""What stands for the end of a line in the tokenizer's input: half a million lines in a list of their own take a sixth
longer to prepare than their documents."""

_SPECIAL = re.compile(rb"\[(%s)\]" % b"|".join(token[1:-1].encode() for token in SPECIAL_TOKENS))


class Encoded(NamedTuple):
    """Some documents as tokens."""

    splits: dict[str, Shard]
    """By name: "train" and "heldout"."""
    counts: Counter[str]
    """Of both splits together: `documents`, `lines`, `tokens` and `bytes` (of text)."""
    skipped: Counter[str]
    """Documents that are in neither split, by reason."""


def encode(documents: Iterable[bytes], tokenizer: Tokenizer, heldout_fraction: float) -> Encoded:
    """Encode documents and find their lines; a line that gives no token, such as a blank one, is none.

    A document's split depends on a hash of its bytes, without the white space around them: on average the share
    `heldout_fraction` goes to "heldout", and equal documents stay together. A special token spelt out in a text
    ("[MASK]") is taken for ordinary characters, as the reference's tokenizer does.
    """
    texts = _Texts(tokenizer)
    skipped: Counter[str] = Counter()
    ends, heldout, sizes = [], [], []
    for document in documents:
        document = document.strip()
        if not _is_utf8(document):
            skipped["not UTF-8"] += 1
            continue
        for piece in _pieces(document):
            texts.add(piece)
        ends.append(texts.count)
        heldout.append(_share(document) < heldout_fraction)
        sizes.append(len(document))
    tokens, bounds = texts.encoded()

    marks = np.flatnonzero(tokens == tokenizer.sep_id)
    bounds = bounds[np.array(ends, np.int64)]
    document_ends = bounds - np.searchsorted(marks, bounds)
    line_ends = np.union1d(marks - np.arange(len(marks)), document_ends)
    full = np.diff(document_ends, prepend=0) > 0
    shard = Shard(np.delete(tokens, marks), line_ends[line_ends > 0], document_ends[full])
    heldout, sizes = np.array(heldout, bool)[full], np.array(sizes, np.int64)[full]
    counts = Counter(documents=len(sizes), lines=len(shard.line_ends), tokens=len(shard.tokens), bytes=int(sizes.sum()))
    skipped["empty"] = len(full) - len(sizes)
    return Encoded({"train": select(shard, ~heldout), "heldout": select(shard, heldout)}, counts, +skipped)


def select(shard: Shard, chosen: np.ndarray) -> Shard:
    """The documents of `shard` where `chosen` ([documents] bool) is true, positions counted anew."""
    if chosen.all():
        return shard
    line_sizes, document_sizes = np.diff(shard.line_ends, prepend=0), np.diff(shard.document_ends, prepend=0)
    chosen_lines = chosen[np.searchsorted(shard.document_ends, shard.line_ends)]
    return Shard(
        shard.tokens[np.repeat(chosen, document_sizes)],
        np.cumsum(line_sizes[chosen_lines]),
        np.cumsum(document_sizes[chosen]),
    )


class _Texts:
    """Texts that are encoded a batch at a time, ends of lines marked by [SEP]."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._batch: list[bytes] = []
        self._batch_size = 0
        self._tokens = [np.empty(0, tokenizer.dtype)]
        self._ends = [np.zeros(1, np.int64)]
        self.count = 0

    def add(self, text: bytes) -> None:
        if b"[" in text:
            text = _SPECIAL.sub(rb"[ \1 ]", text)
        self._batch.append(text.replace(b"\n", _LINE_END))
        self._batch_size += len(text)
        self.count += 1
        if self._batch_size >= BATCH_BYTES:
            self._encode()

    def encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """All tokens and marks end to end, and how many there are in the first 0, 1, 2, … texts."""
        self._encode()
        return np.concatenate(self._tokens), np.concatenate(self._ends)

    def _encode(self) -> None:
        if self._batch:
            tokens, ends = self._tokenizer.encode_batch(self._batch)
            self._tokens.append(tokens)
            self._ends.append(ends + self._ends[-1][-1])
            self._batch, self._batch_size = [], 0


def _pieces(text: bytes) -> Iterator[bytes]:
    """`text`, where it is longer than BATCH_BYTES in pieces that cut no line, else no word, else no character."""
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


def _share(document: bytes) -> float:
    """A number in [0, 1) that is the document's own."""
    return int.from_bytes(hashlib.blake2b(document, digest_size=8).digest()) / 2**64
