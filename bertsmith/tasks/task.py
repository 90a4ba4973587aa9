"""What a task is: what its examples look like, what is asked about them, how answers are scored."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertsmith.tasks.scoring.tagged import Word

MOST_LABELS = 1000
"""More classes or tags than this are numbers or texts read by mistake."""

MISMATCHED = "_mismatched"
"""Ends the names of metrics that are of MNLI's second dev set."""


@dataclass(frozen=True)
class Task:
    """A question about a text or about a pair of texts, answered by a class or by a number; or about each word of a
    sentence, answered by a tag."""

    name: str
    metrics: tuple[str, ...]
    """Names in `bertsmith.tasks.metrics`, of tags in `tag_scores`; the first one is the task's headline."""
    labels: tuple[str, ...] = ()
    """Of the classes or tags, in the order of their ids; empty for a regression."""
    symmetric: bool = False
    """Whether a pair of texts means the same in both orders."""
    low: float = 0.0
    high: float = 1.0
    """Regression: the answers that the model gives as 0 and as 1."""

    @property
    def is_regression(self) -> bool:
        return not self.labels

    @property
    def num_outputs(self) -> int:
        return len(self.labels) or 1


class Examples(NamedTuple):
    """One split of a task; N examples."""

    first: Sequence[str]
    second: Sequence[str] | None
    """None for a task of single texts."""
    targets: np.ndarray | None
    """[N]: int64 class ids, or float32 answers as the file has them; None where the split has no labels."""
    skipped: int = 0
    """Malformed lines that were left out."""

    @property
    def num_examples(self) -> int:
        return len(self.first)

    @property
    def has_pairs(self) -> bool:
        return self.second is not None

    def fingerprint(self) -> str:
        """Hex sha256 of texts and targets, whatever file they came from."""
        digest = hashlib.sha256()
        for texts in (self.first, self.second or ()):
            for text in texts:
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(b"\1")
        digest.update(b"" if self.targets is None else self.targets.tobytes())
        return digest.hexdigest()


class Sentences(NamedTuple):
    """One split of a tagging task: N sentences, at least one word in each."""

    path: Path
    words: list[list[Word]]
    """A list a sentence; of a word's columns the first is the word, the last its tag."""
    skipped: int = 0
    """No line can be left out without changing its sentence."""
    has_pairs: bool = False

    @property
    def num_examples(self) -> int:
        return len(self.words)

    def texts(self) -> list[list[str]]:
        return [[word.columns[0] for word in sentence] for sentence in self.words]

    def tags(self) -> list[list[str]]:
        return [[word.columns[-1] for word in sentence] for sentence in self.words]

    def flat(self) -> Iterator[Word]:
        """All words in order."""
        return (word for sentence in self.words for word in sentence)

    def fingerprint(self) -> str:
        """Hex sha256 of words, tags and where sentences end, whatever file they came from."""
        digest = hashlib.sha256()
        for sentence in self.words:
            for word in sentence:
                digest.update(f"{word.columns[0]}\t{word.columns[-1]}\n".encode("utf-8", "surrogatepass"))
            digest.update(b"\n")
        return digest.hexdigest()


class LabelledData(NamedTuple):
    """What fine-tuning needs of a task."""

    task: Task
    train: Examples | Sentences
    dev: Examples | Sentences
    mismatched: Examples | None = None
    """MNLI: a second dev set, of genres that are not in training."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The task's, then those of the second dev set."""
        second = () if self.mismatched is None else self.task.metrics
        return (*self.task.metrics, *(name + MISMATCHED for name in second))


def in_both_orders(examples: Examples) -> Examples:
    """Every pair, then every pair the other way round: 2N examples."""
    assert examples.second is not None and examples.targets is not None
    return Examples(
        [*examples.first, *examples.second],
        [*examples.second, *examples.first],
        np.concatenate([examples.targets, examples.targets]),
        examples.skipped,
    )
