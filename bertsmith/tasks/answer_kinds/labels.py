"""Answers that are labels: one of several classes, or any number of labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bertsmith.errors import quoted
from bertsmith.hub.heads import MULTI_LABEL, SINGLE_LABEL
from bertsmith.tables.labels import Label, ids_of
from bertsmith.tasks.answer_kinds.answer_kind import MIN_PROB, AnswerKind, MultiLabelPrediction, Prediction, Targets
from bertsmith.tasks.cautions import softmax, spread_of
from bertsmith.tasks.metrics import is_constant, measure


@dataclass(frozen=True)
class OneLabel(AnswerKind):
    """One class of several. Gold answers are class ids [N] int64; the loss is cross-entropy in nats, with weights [N] a
    weighted mean as that of torch's `cross_entropy`."""

    dtype: ClassVar[type] = np.int64
    problem_type: ClassVar[str] = SINGLE_LABEL

    def gold(self, cells: Sequence[Label]) -> np.ndarray:
        ids = ids_of(self.labels)
        return np.array([ids[label.key] for label in cells], dtype=np.int64)

    def row_weights(self, weights: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return weights[answers]

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        if "weights" not in targets:
            return F.cross_entropy(scores, targets["answers"], reduction="sum")
        return F.cross_entropy(scores, targets["answers"], reduction="none") @ targets["weights"]

    def loss_count(self, targets: Targets) -> Tensor | float:
        return targets["weights"].sum() if "weights" in targets else super().loss_count(targets)

    def decode(self, scores: np.ndarray) -> np.ndarray:
        return scores.argmax(axis=1)

    def predictions(self, scores: np.ndarray) -> list[Prediction]:
        predictions = []
        for row in softmax(scores).tolist():
            probs = dict(zip(self.labels, row, strict=True))
            label = max(probs, key=probs.__getitem__)
            predictions.append(Prediction(label, probs[label], probs))
        return predictions

    def spread(self, scores: np.ndarray, gold: np.ndarray) -> float:
        return spread_of([softmax(scores)])

    def majority_score(self, metric: str, gold: np.ndarray) -> float | None:
        if is_constant(gold):
            return None
        commonest = np.full_like(gold, np.bincount(gold).argmax())
        return measure([metric], commonest, gold, len(self.labels))[metric]

    def text(self, answer: int) -> str:
        return " ".join(self.labels[int(answer)].split())


@dataclass(frozen=True)
class AnyLabels(AnswerKind):
    """Any number of labels, none included. Gold answers are [N, C] bool.

    The loss is binary cross-entropy in nats, summed over a row's labels, so that it is what it is for classes, minus
    the log-likelihood of the row's answer, and each label is learnt as it would be alone. Its mean is over rows,
    whatever the weights [N, C]. transformers' `multi_label_classification` divides by the number of labels too. AdamW's
    steps hardly depend on that factor, so the learning rate means the same; only the clipping of gradients bites
    earlier on the sum.
    """

    separator: str = ","
    """Written between the labels of an answer."""
    dtype: ClassVar[type] = bool
    problem_type: ClassVar[str] = MULTI_LABEL
    noun: ClassVar[str] = "labels"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"multi_label": True}

    def gold(self, cells: Sequence[Sequence[Label]]) -> np.ndarray:
        ids = ids_of(self.labels)
        gold = np.zeros((len(cells), len(ids)), dtype=bool)
        for row, labels in enumerate(cells):
            gold[row, [ids[label.key] for label in labels]] = True
        return gold

    def counts(self, gold: np.ndarray) -> np.ndarray:
        return gold.sum(axis=0)

    def balanced(self, counts: np.ndarray, num_examples: int) -> np.ndarray:
        """Return the weights of examples that have a label: those without it, which have weight 1, / those with it."""
        return (np.maximum(num_examples - counts, 1) / np.maximum(counts, 1)).astype(np.float32)

    def row_weights(self, weights: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.where(answers, weights, 1)

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        answers = targets["answers"].to(scores.dtype)
        return F.binary_cross_entropy_with_logits(scores, answers, targets.get("weights"), reduction="sum")

    def decode(self, scores: np.ndarray) -> np.ndarray:
        return scores >= 0  # a probability of at least `MIN_PROB`

    def predictions(self, scores: np.ndarray) -> list[MultiLabelPrediction]:
        predictions = []
        for row in self._probs(scores).tolist():
            probs = dict(zip(self.labels, row, strict=True))
            chosen = [label for label, prob in probs.items() if prob >= MIN_PROB]
            predictions.append(MultiLabelPrediction(tuple(sorted(chosen, key=lambda label: -probs[label])), probs))
        return predictions

    def spread(self, scores: np.ndarray, gold: np.ndarray) -> float:
        return spread_of([self._probs(scores)])

    def majority_score(self, metric: str, gold: np.ndarray) -> float | None:
        """Return the best score of always giving the same few of the commonest labels."""
        if is_constant(gold):
            return None
        order = np.argsort(-gold.sum(axis=0), kind="stable")
        sets = (np.isin(np.arange(len(order)), order[:size]) for size in range(1, len(order) + 1))
        return max(measure([metric], np.tile(labels, (len(gold), 1)), gold)[metric] for labels in sets)

    def text(self, answer: np.ndarray) -> str:
        return " ".join(self.separator.join(compress(self.labels, answer)).split())

    def _labels_in(self, answer: Sequence[Label]) -> Sequence[Label]:
        return answer

    def _has(self, label: Label, value: Any) -> str:
        return f"has {quoted(label.name, 80)}"

    def _probs(self, scores: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return expit(scores)
