"""Texts and pairs of texts with their answers, and as token rows."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertsmith.errors import UserError
from bertsmith.tasks.rows import Rows, encode_texts, join_rows
from bertsmith.tokenizers.tokenizer import Tokenizer


class Examples(NamedTuple):
    """One split of a task; N examples."""

    first: Sequence[str]
    second: Sequence[str] | None
    """None for a task of single texts."""
    targets: np.ndarray | None
    """[N]: int64 class ids, or float64 answers as the file has them; [N, C] bool where a text has any number of C
    labels; None where the split has no labels."""
    notes: tuple[str, ...] = ()
    """What was left out as malformed, in lines."""

    @property
    def num_examples(self) -> int:
        return len(self.first)

    @property
    def has_pairs(self) -> bool:
        return self.second is not None

    def take(self, numbers: np.ndarray) -> "Examples":
        """Return the labelled examples of these numbers, in this order."""
        assert self.targets is not None
        second = None if self.second is None else [self.second[number] for number in numbers]
        return Examples([self.first[number] for number in numbers], second, self.targets[numbers])

    def fingerprint(self) -> str:
        """Return hex sha256 of texts and targets, whatever file they came from."""
        digest = hashlib.sha256()
        for texts in (self.first, self.second or ()):
            for text in texts:
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(b"\1")
        digest.update(b"" if self.targets is None else _bytes_of(self.targets))
        return digest.hexdigest()


def _bytes_of(targets: np.ndarray) -> bytes:
    """Return what stands for the targets in a hash: of numbers their float32, as in versions that had no others, and
    all that they have where that tells fewer of them apart."""
    if targets.dtype != np.float64:
        return targets.tobytes()
    short = targets.astype(np.float32)
    return short.tobytes() + (targets.tobytes() if len(np.unique(short)) < len(np.unique(targets)) else b"")


def in_both_orders(examples: Examples) -> Examples:
    """Return every pair, then every pair the other way round: 2N examples."""
    assert examples.second is not None and examples.targets is not None
    return Examples(
        [*examples.first, *examples.second],
        [*examples.second, *examples.first],
        np.concatenate([examples.targets, examples.targets]),
    )


def check_count(path: Path, num_examples: int, published: Sequence[int]) -> None:
    """Raise UserError where a file has none of the `published` numbers of examples."""
    if num_examples not in published:
        raise UserError(
            f"{path}: {num_examples:,} examples where {' or '.join(f'{number:,}' for number in published)} were "
            f"published; fetch the file again, or set check_counts=false"
        )


def encode(examples: Examples, tokenizer: Tokenizer, length: int) -> Rows:
    """Return rows of at most `length` tokens; of a pair that is longer, the longer side loses one token at a time.

    Source: google-research/bert, run_classifier.py, _truncate_seq_pair.
    """
    segments = [encode_texts(texts, tokenizer) for texts in (examples.first, examples.second) if texts is not None]
    budget = length - 1 - len(segments)
    truncated = np.sum([texts.lengths for texts in segments], axis=0) > budget
    if len(segments) == 1:
        segments = [segments[0].cut(budget)]
    else:
        lengths = truncate_pairs(segments[0].lengths, segments[1].lengths, budget)
        segments = [texts.cut(fitting) for texts, fitting in zip(segments, lengths, strict=True)]
    return join_rows(segments, (tokenizer.cls_id, tokenizer.sep_id), int(truncated.sum()))


def truncate_pairs(first: np.ndarray, second: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut pairs of lengths [N] so that no two add up to more than `budget`.

    What is left when the longer side loses a token until both fit, the second one where they are equally long: half
    of the budget (the first side's half is rounded up), or more where the other side needs less.
    """
    half = budget // 2
    return (
        np.minimum(first, np.maximum(budget - half, budget - second)),
        np.minimum(second, np.maximum(half, budget - first)),
    )
