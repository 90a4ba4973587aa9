"""Classes, labels and numbers of texts, as a task: GLUE's tasks, and one's own."""

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
from bertsmith.tasks.metrics import measure
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.single_task import SingleTask
from bertsmith.tasks.task import Dataset, Datasets, Outcome, outcome_of
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.texts.classification import Classification, build_classification
from bertsmith.tasks.texts.encode import encode
from bertsmith.tasks.texts.examples import Examples, LabelledTexts, in_both_orders
from bertsmith.tasks.texts.row_losses import BinaryCrossEntropy, CrossEntropy, RowLoss, SquaredError
from bertsmith.training.machine import Machine

MISMATCHED = "_mismatched"
"""Ends the names of metrics that are of MNLI's second dev set."""


@dataclass(frozen=True)
class TextDataset(Dataset):
    """See `bertsmith.tasks.task.Dataset`."""

    spec: TaskSpec
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
            weights = np.where(answers, self.weights, 1) if self.spec.is_multi_label else self.weights[answers]
            targets["weights"] = torch.from_numpy(weights.astype(np.float32))
        return Batch(self.rows.take(rows), targets)

    def score(
        self, objective: Classification, machine: Machine, folder: Path | None = None, name: str = "dev"
    ) -> Outcome:
        """predictions-NAME.tsv gets an example a line, in the order of the dev file."""
        scores, answers = predict(objective, self.rows, machine), self.answers
        if self.spec.is_regression:
            predicted, answers = on_scale(scores[:, 0], self.spec.low, self.spec.high), self.numbers
        elif self.spec.is_multi_label:
            predicted = scores >= 0  # a probability of at least 0.5
        else:
            predicted = scores.argmax(axis=1)
        if folder is not None:
            _write_predictions(folder / f"predictions-{name}.tsv", predicted, answers, self.spec)
        metrics = measure(self.spec.metrics, predicted, answers, len(self.spec.labels))
        return outcome_of(metrics, of_texts(self.spec, metrics[self.spec.metrics[0]], scores, predicted, answers))


class MnliEvalSet(NamedTuple):
    """MNLI's; see `bertsmith.tasks.task.EvalSet`."""

    matched: TextDataset
    mismatched: TextDataset

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
class TextTask(SingleTask):
    """See `bertsmith.tasks.task.Task`."""

    data: LabelledTexts

    @property
    def metrics(self) -> tuple[str, ...]:
        second = () if self.data.mismatched is None else self.spec.metrics
        return (*self.spec.metrics, *(name + MISMATCHED for name in second))

    def identity(self) -> dict[str, Any]:
        if self.data.mismatched is None:
            return super().identity()
        return super().identity() | {"mismatched_dev": self.data.mismatched.fingerprint()}

    def check(self, start: PretrainedEncoder) -> None:
        super().check(start)
        if self.data.train.has_pairs and start.settings.num_segments == 1:
            raise UserError(
                f"{self.recipe.model}: knows one kind of segment, and {self.recipe.task} has pairs of texts"
            )

    def encode(self, start: PretrainedEncoder) -> Datasets:
        train, held_out = self.data.train, None
        if share := self.recipe.early_stopping.share:
            train, held_out = (train.take(numbers) for numbers in divide(train.num_examples, share))
        if self.spec.symmetric and self.recipe.double_unordered:
            train = in_both_orders(train)
        others = (self.data.dev, self.data.mismatched, held_out)
        dev, mismatched, watched = (None if some is None else self._split(some, start) for some in others)
        splits = Datasets(
            self._split(train, start, self._weights()),
            dev if mismatched is None else MnliEvalSet(dev, mismatched),
            watched,
            0 if held_out is None else held_out.num_examples,
        )
        found = [split for split in (splits.train, dev, mismatched, watched) if split is not None]
        truncated = sum(split.rows.truncated for split in found)
        if truncated:
            say(
                f"{self.spec.name}: {truncated:,} of {sum(len(split.answers) for split in found):,} examples were "
                f"cut to {self.recipe.sequence_length} tokens (sequence_length)",
                error=True,
            )
        return splits

    def objective(self, start: PretrainedEncoder, encoder: Encoder) -> Classification:
        compat, outputs = self.recipe.compat, self.spec.num_outputs
        return start.load_into(build_classification(encoder, start.family, outputs, compat, self._loss()))

    def _loss(self) -> RowLoss:
        if self.spec.is_regression:
            return SquaredError()
        return BinaryCrossEntropy() if self.spec.is_multi_label else CrossEntropy()

    def _weights(self) -> np.ndarray | None:
        if self.spec.is_regression:
            answers = self.data.train.targets
            say(
                f"{self.spec.name}: numbers from {answers.min():.6g} to {answers.max():.6g} in {len(answers):,} "
                f"examples to learn from",
                error=True,
            )
            return None
        answers, num_labels = self.data.train.targets, len(self.spec.labels)
        counts = answers.sum(axis=0) if self.spec.is_multi_label else np.bincount(answers, minlength=num_labels)
        say_classes(self.spec, counts, f"{len(answers):,} examples to learn from")
        return class_weights(self.recipe, self.spec, counts, len(answers))

    def _split(self, examples: Examples, start: PretrainedEncoder, weights: np.ndarray | None = None) -> TextDataset:
        answers, task = examples.targets, self.spec
        rows = encode(examples, start.tokenizer, self.recipe.sequence_length)
        if task.is_regression:
            scaled = ((answers - task.low) / (task.high - task.low)).astype(np.float32)
            return TextDataset(task, rows, scaled, weights, answers)
        return TextDataset(task, rows, answers, weights)


def read_text_task(recipe: FinetuneRecipe) -> TextTask:
    """A GLUE task, or one of one's own.

    Raises:
        UserError: as `read_glue`, and as `read_columns`.
    """
    data = recipe.entry.read(recipe)
    for examples in (data.train, data.dev, data.mismatched):
        for line in () if examples is None else examples.left_out:
            say(line, error=True)
    return TextTask(recipe, data)


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


def _write_predictions(path: Path, predicted: np.ndarray, answers: np.ndarray, task: TaskSpec) -> None:
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
