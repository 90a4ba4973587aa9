"""What a worker does with a part of a corpus: read it, encode it, and leave the tokens on disk."""

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from bertsmith.errors import UserError
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.encoding import encode_documents
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.pieces import Lengths, ShardWriter, write_piece
from bertsmith.tokenizers.tokenizer import Tokenizer


class Result(NamedTuple):
    """What came of a part; its tokens are in its pieces."""

    lengths: dict[str, Lengths]  # of its pieces, by split
    counts: Counter[str]  # as `bertsmith.text.encoding.Encoded` has them, and likewise `skipped`
    skipped: Counter[str]
    seconds: float  # of reading and encoding
    broken: tuple[str, ...] = ()  # errors of files and members that were passed over


@dataclass(frozen=True)
class PartEncoder(ShardWriter):
    """A reader and encoder of a corpus's parts; with `skip_broken` a broken archive or member is counted as one skipped
    "broken archive", instead of ending the work with a UserError."""

    tokenizer: Tokenizer
    heldout_fraction: float
    skip_broken: bool

    def encode(self, number: int, part: CorpusPart) -> Result:
        """Write the pieces of part `number`."""
        started_at = time.perf_counter()
        skipped: Counter[str] = Counter()
        broken: list[str] = []
        note = partial(note_broken, self.skip_broken, broken)
        try:
            encoded = encode_documents(part.documents(skipped, note), self.tokenizer, self.heldout_fraction)
        except UnreadableInput as error:
            note(error)
            encoded = encode_documents((), self.tokenizer, self.heldout_fraction)
            skipped.clear()
        encoded.skipped.update(skipped)
        encoded.skipped.update({"broken archive": len(broken)} if broken else {})
        lengths = {split: write_piece(self.folder, number, split, shard) for split, shard in encoded.splits.items()}
        return Result(lengths, encoded.counts, encoded.skipped, time.perf_counter() - started_at, tuple(broken))


def note_broken(skip_broken: bool, broken: list[str], error: UnreadableInput) -> None:
    """Add an error to `broken`; without `skip_broken` raise it as a UserError."""
    if not skip_broken:
        raise UserError(f"{error}, or go on without it: on_error=skip")
    broken.append(str(error))
