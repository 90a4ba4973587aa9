"""A task's description, and its examples as they were read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from bertsmith.encoders.heads import HeadName
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number

MAX_LABELS = 1000
"""More classes or tags than this are numbers or texts read by mistake."""

UNSET_ANSWERS = OneLabel()
"""The answers of questions, which are spans of a text, and of a spec whose files decide on them."""

Input = Literal["texts", "words", "questions"]
"""The kind of input that is answered: a text or a pair of texts, each word of a sentence, a question about a text."""

HEAD_OF_INPUT: dict[Input, HeadName] = {"texts": "classification", "words": "tagging", "questions": "answering"}


@dataclass(frozen=True)
class TaskSpec:
    """A task's description: its input, its answers, how these are scored, and how its files are read."""

    name: str
    metrics: tuple[str, ...] = ()
    """Names in `bertsmith.tasks.metrics`, of tags those of `measure_tags`; the first one is the headline. Where a
    file decides on them, as on `answers`, they are known once it is read."""
    answers: AnswerKind = UNSET_ANSWERS
    """The kind of answer to a text, or of each word's tag."""
    symmetric: bool = False
    """Whether a pair of texts means the same in both orders."""
    may_have_none: bool = False
    """Whether a question may be without an answer."""
    input: Input = "texts"
    columns: tuple[tuple[str, ...], ...] = (("text",),)
    """Names of a table's columns that hold the input; several where they go by several names."""
    has_published_counts: bool = False
    """Whether its files are held to a published number of examples."""
    read: "Callable[[Any], TaskData] | None" = None
    """Reads the task's files, given the `FinetuneRecipe`; None of a task that is in no registry."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.answers.labels


class TaskData(NamedTuple):
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


def answer_kind_of(labels: Sequence[str], multi_label: bool = False, low: float = 0.0, high: float = 1.0) -> AnswerKind:
    """Return the kind of answer that a manifest or a Hugging Face folder describes."""
    if multi_label:
        return AnyLabels(tuple(labels))
    if labels:
        return OneLabel(tuple(labels))
    return Number(low=low, high=high)
