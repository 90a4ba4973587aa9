"""Texts and pairs of texts with their answers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertsmith.errors import UserError


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
