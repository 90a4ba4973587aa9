"""The base of all kinds of answers: how gold answers are read, learnt and weighed, how a model's scores become answers,
and how these are written and scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from bertsmith.errors import quoted
from bertsmith.tables.cells import Cell, class_id_of, few_of, unknown
from bertsmith.tables.labels import Label, alike_in_case, ids_of

MIN_PROB = 0.5  # from here on a text has a label

Targets = Mapping[str, Tensor]
"""Of a batch: "answers", and where some count for more than others "weights"."""


class Prediction(NamedTuple):
    """A model's answer to a text: a class, or a number."""

    label: str | None
    """The likeliest class; None of a number."""
    value: float
    """The label's probability; or the number, on the task's scale."""
    probs: dict[str, float]
    decimals: int = 4
    """Digits after a number's point that have a meaning on the task's scale."""

    @property
    def answer(self) -> Any:
        return self.value if self.label is None else self.label

    def text(self) -> str:
        """Return the answer as a line for people."""
        return f"{self.value:.{self.decimals}f}" if self.label is None else f"{self.label}\t{self.value:.4f}"

    def to_json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        if self.label is None:
            return {"value": self.value}
        return {"label": self.label, "prob": self.value, "probs": self.probs}

    def columns(self) -> dict[str, Any]:
        """Return the answer for a table."""
        return {"prediction": self.answer} | ({} if self.label is None else {"probability": self.value})


class MultiLabelPrediction(NamedTuple):
    """A model's answer to a text that may have any number of labels."""

    labels: tuple[str, ...]
    """Labels with a probability of at least `MIN_PROB`, the likeliest first; there may be none."""
    probs: dict[str, float]

    @property
    def answer(self) -> Any:
        return list(self.labels)

    def text(self) -> str:
        """Return the answer as a line for people, a dash where there is no label."""
        return "  ".join(f"{label} {self.probs[label]:.4f}" for label in self.labels) or "-"

    def to_json(self) -> dict[str, Any]:
        return {"labels": self.answer, "probs": self.probs}

    def columns(self) -> dict[str, Any]:
        return {"prediction": self.answer, "probability": [self.probs[label] for label in self.labels]}


@dataclass(frozen=True)
class AnswerKind(ABC):
    """A kind of answer; by default one made of labels."""

    labels: tuple[str, ...] = ()
    """Labels in the order of their ids; empty where an answer has none."""
    dtype: ClassVar[type]
    problem_type: ClassVar[str]
    """The `problem_type` of its head in Hugging Face's config.json."""
    noun: ClassVar[str] = "classes"

    @property
    def num_outputs(self) -> int:
        """The number of the head's outputs."""
        return len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """Return what a run's manifest says of it; see `answer_kind_of`."""
        return {"labels": self.labels, "multi_label": False, "low": 0.0, "high": 1.0}

    def gold_cell(self, ids: Sequence[str] = ()) -> Cell:
        """Return the `Cell` of a gold answer: a label by its name, or by its place among `ids`."""
        if not ids:
            return self.predicted_cell()
        id_of = class_id_of([str(id) for id in range(len(ids))])
        return lambda value: self.labels.index(ids[id_of(value)])

    def predicted_cell(self) -> Cell:
        """Return the `Cell` of a predicted answer."""
        return class_id_of(self.labels)

    def known(self, read: Cell) -> Cell:
        """Return the `Cell` that reads as `read` does, and refuses labels that the task does not have."""
        ids = ids_of(self.labels)

        def known(value: Any) -> Any:
            answer = read(value)
            for label in self._labels_in(answer):
                if label.key not in ids:
                    raise ValueError(unknown(self._has(label, value), label.name, self.labels))
            return answer

        return known

    @abstractmethod
    def gold(self, cells: Sequence[Any]) -> np.ndarray:
        """Return the gold answers [N] or [N, C] of cells that `known` has let pass."""

    def counts(self, gold: np.ndarray) -> np.ndarray:
        """Return how many examples each label has, [C]."""
        return np.bincount(gold, minlength=len(self.labels))

    def balanced(self, counts: np.ndarray, num_examples: int) -> np.ndarray:
        """Return weights [C] that give every class the same sum, N / (classes × examples of the class), as
        scikit-learn does."""
        return (num_examples / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)

    def summary(self, gold: np.ndarray) -> list[str]:
        """Return what the answers to learn from are, in lines from which a user sees what was understood."""
        return self.counted(self.counts(gold), f"{len(gold):,} examples to learn from")

    def counted(self, counts: np.ndarray, total: str) -> list[str]:
        """Return which labels there are and how often, [C], in how many examples or words, which `total` says."""
        listed = [
            f"{label if len(label) <= 30 else f'{label[:29]}…'} ({count:,})"
            for label, count in zip(self.labels, counts.tolist(), strict=True)
        ]
        lines = [f"{len(self.labels):,} {self.noun} in {total}: {few_of(listed)}"]
        for label, other in alike_in_case(self.labels)[:5]:
            both = f"{quoted(label, 60)} and {quoted(other, 60)}"
            lines.append(f"{both} differ in upper and lower case alone, and are two {self.noun}")
        return lines

    def learnt(self, gold: np.ndarray) -> np.ndarray:
        """Return gold answers as the model learns them."""
        return gold

    @abstractmethod
    def row_weights(self, weights: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """Return how much each answer counts in the loss, in the shape of `answers`, given the labels' weights [C]."""

    @abstractmethod
    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        """Return the loss of scores [N, C] float32, summed over rows."""

    def loss_count(self, targets: Targets) -> Tensor | float:
        """Return what that sum is divided by to give the mean."""
        return float(len(targets["answers"]))

    @abstractmethod
    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Return scores [N, C] as answers, in the form of gold ones."""

    @abstractmethod
    def predictions(self, scores: np.ndarray) -> list[Prediction] | list[MultiLabelPrediction]:
        """Return scores [N, C] as answers for people."""

    @abstractmethod
    def spread(self, scores: np.ndarray, gold: np.ndarray) -> float | None:
        """Return how far scores [N, C] are from being the same for all rows; None where that is not known."""

    @abstractmethod
    def majority_score(self, metric: str, gold: np.ndarray) -> float | None:
        """Return what always giving the commonest answer scores; None where all gold answers are the same."""

    @abstractmethod
    def text(self, answer: Any) -> str:
        """Return a predicted answer as a trial's file of predictions has it."""

    def gold_texts(self, gold: np.ndarray) -> list[str]:
        """Return gold answers as that file has them."""
        return [self.text(answer) for answer in gold]

    def named(self, answer: Any) -> str:
        """Return an answer for a message."""
        return self.labels[answer]

    def submitted(self, answer: str | float) -> str:
        """Return an answer as the GLUE server takes it."""
        return str(answer)

    def commonest(self, gold: np.ndarray | None) -> tuple[str | float, str]:
        """Return one answer for all texts, and which that is; without gold answers any."""
        if gold is None:
            return self.labels[0], "the first label"
        return self.labels[int(self.counts(gold).argmax())], "the most frequent training label"

    def exported(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return a model's weights as transformers computes with them, and the names of its outputs."""
        return weights, self.labels

    def _labels_in(self, answer: Any) -> Sequence[Label]:
        return [answer]

    def _has(self, label: Label, value: Any) -> str:
        return f"is {quoted(value, 80)}"
