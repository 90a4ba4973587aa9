"""Answers that are numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bertsmith.hub.heads import REGRESSION
from bertsmith.tables.cells import Cell, number
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind, Prediction, Targets
from bertsmith.tasks.metrics import is_constant


@dataclass(frozen=True)
class Number(AnswerKind):
    """A number. Gold answers are [N] float64, as their file has them; the model learns float32 by squared error."""

    labels: tuple[str, ...] = field(default=(), init=False)
    low: float = 0.0
    high: float = 1.0
    """The answers that the model gives as 0 and as 1."""
    dtype: ClassVar[type] = np.float64
    problem_type: ClassVar[str] = REGRESSION

    @property
    def num_outputs(self) -> int:
        return 1

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"low": self.low, "high": self.high}

    def gold_cell(self, ids: Sequence[str] = ()) -> Cell:
        """Return the `Cell` of a number from `low` to `high`."""

        def in_range(value: Any) -> float:
            answer = number(value)
            if not self.low <= answer <= self.high:
                raise ValueError(f"is {answer:g}; it must be {self.low:g} to {self.high:g}")
            return answer

        return in_range

    def predicted_cell(self) -> Cell:
        return number

    def known(self, read: Cell) -> Cell:
        return read

    def gold(self, cells: Sequence[float]) -> np.ndarray:
        return np.array(cells, dtype=np.float64)

    def counts(self, gold: np.ndarray) -> np.ndarray:
        return np.zeros(0, dtype=np.int64)

    def summary(self, gold: np.ndarray) -> list[str]:
        return [f"numbers from {gold.min():.6g} to {gold.max():.6g} in {len(gold):,} examples to learn from"]

    def learnt(self, gold: np.ndarray) -> np.ndarray:
        return ((gold - self.low) / (self.high - self.low)).astype(np.float32)

    def row_weights(self, weights: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.ones_like(answers)

    def loss(self, scores: Tensor, targets: Targets) -> Tensor:
        return F.mse_loss(scores[:, 0], targets["answers"], reduction="sum")

    def decode(self, scores: np.ndarray) -> np.ndarray:
        return scores[:, 0].astype(np.float64) * (self.high - self.low) + self.low

    def predictions(self, scores: np.ndarray) -> list[Prediction]:
        return [Prediction(None, value, {}, self._decimals(4)) for value in self.decode(scores).tolist()]

    def spread(self, scores: np.ndarray, gold: np.ndarray) -> float | None:
        """Return the numbers' deviation as a share of the gold ones'."""
        width = float(np.std(gold))
        return float(np.std(self.decode(scores))) / width if width else None

    def majority_score(self, metric: str, gold: np.ndarray) -> float | None:
        return None if is_constant(gold) else 0.0

    def text(self, answer: float) -> str:
        return f"{answer:.{self._decimals(6)}f}"

    def gold_texts(self, gold: np.ndarray) -> list[str]:
        return [repr(answer).removesuffix(".0") for answer in gold.tolist()]  # as the file has it

    def named(self, answer: float) -> str:
        return f"{answer:g}"

    def submitted(self, answer: str | float) -> str:
        return f"{min(self.high, max(self.low, float(answer))):.3f}"

    def commonest(self, gold: np.ndarray | None) -> tuple[str | float, str]:
        if gold is None:
            return (self.low + self.high) / 2, "the middle"
        return float(gold.astype(np.float64).mean()), "the mean of the training labels"

    def exported(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return the weights with a last layer that answers on the task's own scale instead of 0 to 1."""
        width = self.high - self.low
        weight, bias = (weights[f"head.output.{name}"] for name in ("weight", "bias"))
        scaled = {"head.output.weight": weight * width, "head.output.bias": bias * width + self.low}
        return weights | scaled, ("score",)

    def _decimals(self, digits: int) -> int:
        """Return the decimals of a number with so many digits after the first one of the scale's width."""
        return max(0, digits - math.floor(math.log10(self.high - self.low)))
