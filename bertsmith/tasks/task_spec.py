"""What a task is: how its answers look, and how they are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number

MAX_LABELS = 1000
"""More classes or tags than this are numbers or texts read by mistake."""

NO_LABELS = OneLabel()
"""Of tasks whose answers are of no kind."""


@dataclass(frozen=True)
class TaskSpec:
    """A question about a text or about a pair of texts, about each word of a sentence, or with its answer in a text."""

    name: str
    metrics: tuple[str, ...]
    """Names in `bertsmith.tasks.metrics`, of tags in `tag_scores`; the first one is the task's headline."""
    answers: AnswerKind = NO_LABELS
    """Of a text, or of each word; `NO_LABELS` where an answer is a stretch of a text, or the tasks are several."""
    symmetric: bool = False
    """Whether a pair of texts means the same in both orders."""
    may_have_none: bool = False
    """Whether a question may be without an answer."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.answers.labels

    def to_json(self) -> dict[str, Any]:
        """Return what a run's manifest says of the answers."""
        return self.answers.to_json()


class TaskFiles(NamedTuple):
    """A task's examples, as its files have them: `Examples`, `Sentences` or `Questions`."""

    spec: TaskSpec
    train: Any
    dev: Any
    other_devs: Mapping[str, Any] = MappingProxyType({})
    """Further dev sets, by what the names of their metrics end with: MNLI's "_mismatched"."""
    scored_on: str = "dev"
    """"test" where `dev` is the task's official test file, as there is no other."""

    @property
    def dev_sets(self) -> dict[str, Any]:
        """All dev sets; the first one's metrics end with nothing."""
        return {"": self.dev, **self.other_devs}


def answer_kind_of(
    labels: Sequence[str], multi_label: bool = False, low: float | None = None, high: float | None = None
) -> AnswerKind:
    """Return the kind of answer that a manifest or a Hugging Face folder describes."""
    if multi_label:
        return AnyLabels(tuple(labels))
    if labels:
        return OneLabel(tuple(labels))
    return Number(low=0.0 if low is None else low, high=1.0 if high is None else high)
