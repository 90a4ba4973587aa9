"""Classes, labels and numbers of texts, as a lesson: GLUE's tasks, and one's own."""

import math
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.objectives.objective import Batch
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.cautions import of_texts
from bertsmith.tasks.class_weights import class_weights, say_classes
from bertsmith.tasks.early_stopping import divide
from bertsmith.tasks.inference import scored
from bertsmith.tasks.lesson import Outcome, Split, Splits, outcome_of
from bertsmith.tasks.metrics import measure
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.single_lesson import SingleLesson
from bertsmith.tasks.starting_point import StartingPoint
from bertsmith.tasks.task import Task
from bertsmith.tasks.texts.classification import Classification, build_classification
from bertsmith.tasks.texts.encode import encode
from bertsmith.tasks.texts.examples import Examples, LabelledTexts, in_both_orders
from bertsmith.tasks.texts.row_losses import BinaryCrossEntropy, CrossEntropy, RowLoss, SquaredError
from bertsmith.training.machine import Machine

MISMATCHED = "_mismatched"
"""Ends the names of metrics that are of MNLI's second dev set."""


@dataclass(frozen=True)
class TextSplit(Split):
    """See `bertsmith.tasks.lesson.Split`."""

    task: Task
    rows: Rows
    answers: np.ndarray
    """[N]: int64 class ids, or float32 numbers scaled so that the task's `low` is 0 and its `high` 1; [N, C] bool where
    a text has any number of C labels."""
    weights: np.ndarray | None = None
    """[C] float32, how much each class counts in the loss; of labels, where a text has them."""
    numbers: np.ndarray | None = None
    """[N] float64: a regression's answers as the file has them."""

    @property
    def lengths(self) -> np.ndarray:
        return self.rows.lengths

    def batch(self, rows: np.ndarray) -> Batch:
        answers = self.answers[rows]
        targets = {"answers": torch.from_numpy(answers)}
        if self.weights is not None:
            weights = np.where(answers, self.weights, 1) if self.task.is_multi_label else self.weights[answers]
            targets["weights"] = torch.from_numpy(weights.astype(np.float32))
        return Batch(self.rows.take(rows), targets)

    def score(
        self, objective: Classification, machine: Machine, folder: Path | None = None, name: str = "dev"
    ) -> Outcome:
        """predictions-NAME.tsv gets an example a line, in the order of the dev file."""
        scores, answers = predict(objective, self.rows, machine), self.answers
        if self.task.is_regression:
            predicted, answers = on_scale(scores[:, 0], self.task.low, self.task.high), self.numbers
        elif self.task.is_multi_label:
            predicted = scores >= 0  # a probability of at least 0.5
        else:
            predicted = scores.argmax(axis=1)
        if folder is not None:
            _write_predictions(folder / f"predictions-{name}.tsv", predicted, answers, self.task)
        metrics = measure(self.task.metrics, predicted, answers, len(self.task.labels))
        return outcome_of(metrics, of_texts(self.task, metrics[self.task.metrics[0]], scores, predicted, answers))


class TwoDevSets(NamedTuple):
    """MNLI's; see `bertsmith.tasks.lesson.Scored`."""

    matched: TextSplit
    mismatched: TextSplit

    def score(
        self, objective: Classification, machine: Machine, folder: Path | None = None, name: str = "dev"
    ) -> Outcome:
        """The metrics of the second set, and the name of its file, end with `MISMATCHED`."""
        first = self.matched.score(objective, machine, folder, name)
        second = self.mismatched.score(objective, machine, folder, name + MISMATCHED)
        metrics = first.metrics | {metric + MISMATCHED: score for metric, score in second.metrics.items()}
        cautions = (*first.cautions, *(f"mismatched: {line}" for line in second.cautions))
        return Outcome(metrics, first.constant or second.constant, first.baseline, cautions)


@dataclass(frozen=True)
class TextLesson(SingleLesson):
    """See `bertsmith.tasks.lesson.Lesson`."""

    data: LabelledTexts

    @property
    def metrics(self) -> tuple[str, ...]:
        second = () if self.data.mismatched is None else self.task.metrics
        return (*self.task.metrics, *(name + MISMATCHED for name in second))

    def identity(self) -> dict[str, Any]:
        if self.data.mismatched is None:
            return super().identity()
        return super().identity() | {"mismatched_dev": self.data.mismatched.fingerprint()}

    def check(self, start: StartingPoint) -> None:
        super().check(start)
        if self.data.train.has_pairs and start.settings.num_segments == 1:
            raise UserError(
                f"{self.recipe.model}: knows one kind of segment, and {self.recipe.task} has pairs of texts"
            )

    def encode(self, start: StartingPoint) -> Splits:
        train, held_out = self.data.train, None
        if share := self.recipe.early_stopping.share:
            train, held_out = (train.take(numbers) for numbers in divide(train.num_examples, share))
        if self.task.symmetric and self.recipe.double_unordered:
            train = in_both_orders(train)
        others = (self.data.dev, self.data.mismatched, held_out)
        dev, mismatched, watched = (None if some is None else self._split(some, start) for some in others)
        splits = Splits(
            self._split(train, start, self._weights()),
            dev if mismatched is None else TwoDevSets(dev, mismatched),
            watched,
            0 if held_out is None else held_out.num_examples,
        )
        found = [split for split in (splits.train, dev, mismatched, watched) if split is not None]
        truncated = sum(split.rows.truncated for split in found)
        if truncated:
            say(
                f"{self.task.name}: {truncated:,} of {sum(len(split.answers) for split in found):,} examples were "
                f"cut to {self.recipe.sequence_length} tokens (sequence_length)",
                error=True,
            )
        return splits

    def objective(self, start: StartingPoint, encoder: Encoder) -> Classification:
        compat, outputs = self.recipe.compat, self.task.num_outputs
        return start.lend(build_classification(encoder, start.family, outputs, compat, self._loss()))

    def _loss(self) -> RowLoss:
        if self.task.is_regression:
            return SquaredError()
        return BinaryCrossEntropy() if self.task.is_multi_label else CrossEntropy()

    def _weights(self) -> np.ndarray | None:
        if self.task.is_regression:
            answers = self.data.train.targets
            say(
                f"{self.task.name}: numbers from {answers.min():.6g} to {answers.max():.6g} in {len(answers):,} "
                f"examples to learn from",
                error=True,
            )
            return None
        answers, num_labels = self.data.train.targets, len(self.task.labels)
        counts = answers.sum(axis=0) if self.task.is_multi_label else np.bincount(answers, minlength=num_labels)
        say_classes(self.task, counts, f"{len(answers):,} examples to learn from")
        return class_weights(self.recipe, self.task, counts, len(answers))

    def _split(self, examples: Examples, start: StartingPoint, weights: np.ndarray | None = None) -> TextSplit:
        answers, task = examples.targets, self.task
        rows = encode(examples, start.tokenizer, self.recipe.sequence_length)
        if task.is_regression:
            scaled = ((answers - task.low) / (task.high - task.low)).astype(np.float32)
            return TextSplit(task, rows, scaled, weights, answers)
        return TextSplit(task, rows, answers, weights)


def read_text_lesson(recipe: FinetuneRecipe) -> TextLesson:
    """A GLUE task, or one of one's own.

    Raises:
        UserError: as `read_glue`, and as `read_columns`.
    """
    data = recipe.entry.read(recipe)
    for examples in (data.train, data.dev, data.mismatched):
        for line in () if examples is None else examples.left_out:
            say(line, error=True)
    return TextLesson(recipe, data)


def predict(objective: Classification, rows: Rows, machine: Machine) -> np.ndarray:
    """Scores [N, C] float32 of all rows."""
    scores = np.empty((len(rows.lengths), objective.head.output.out_features), dtype=np.float32)
    for chosen, _, found in scored(objective, rows, machine):
        scores[chosen] = found.float().cpu().numpy()
    return scores


def on_scale(answers: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a model's numbers [N] float32, for which `low` is 0 and `high` 1, as float64 on the task's scale."""
    return answers.astype(np.float64) * (high - low) + low


def number_text(value: float, low: float, high: float, digits: int) -> str:
    """Return a number of a task's scale with so many digits behind the first one of the scale's width."""
    return f"{value:.{max(0, digits - math.floor(math.log10(high - low)))}f}"


def _write_predictions(path: Path, predicted: np.ndarray, answers: np.ndarray, task: Task) -> None:
    def text(answer: Any) -> str:
        if task.is_regression:
            return answer if isinstance(answer, str) else number_text(answer, task.low, task.high, 6)
        if task.is_multi_label:
            return " ".join(task.separator.join(compress(task.labels, answer)).split())
        return " ".join(task.labels[int(answer)].split())

    if task.is_regression:  # as the file has it
        answers = [repr(answer).removesuffix(".0") for answer in answers.tolist()]
    with atomic_write(path, "w") as file:
        file.write("index\tprediction\tlabel\n")
        file.writelines(
            f"{index}\t{text(prediction)}\t{text(answer)}\n"
            for index, (prediction, answer) in enumerate(zip(predicted, answers, strict=True))
        )
