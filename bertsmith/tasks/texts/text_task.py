"""Classes, labels and numbers of texts, as a task: GLUE's tasks, and one's own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.objectives.objective import Batch
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.cautions import Look
from bertsmith.tasks.class_weights import class_weights
from bertsmith.tasks.early_stopping import divide
from bertsmith.tasks.inference import scored
from bertsmith.tasks.metrics import is_constant, measure
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.single_task import SingleTask
from bertsmith.tasks.task import Dataset, Datasets, Outcome, outcome_of
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.texts.classification import Classification, build_classification
from bertsmith.tasks.texts.encode import encode
from bertsmith.tasks.texts.examples import Examples, LabelledTexts, in_both_orders
from bertsmith.training.machine import Machine

MISMATCHED = "_mismatched"
"""Ends the names of metrics that are of MNLI's second dev set."""


@dataclass(frozen=True)
class TextDataset(Dataset):
    """See `bertsmith.tasks.task.Dataset`."""

    spec: TaskSpec
    rows: Rows
    gold: np.ndarray
    """[N], or [N, C] bool, see `AnswerKind.gold`."""
    weights: np.ndarray | None = None
    """[C] float32, how much each class counts in the loss; of labels, where a text has them."""

    @cached_property
    def answers(self) -> np.ndarray:
        """Gold answers as the model learns them."""
        return self.spec.answers.learnt(self.gold)

    @property
    def lengths(self) -> np.ndarray:
        return self.rows.lengths

    def batch(self, rows: np.ndarray) -> Batch:
        answers = self.answers[rows]
        targets = {"answers": torch.from_numpy(answers)}
        if self.weights is not None:
            weights = self.spec.answers.row_weights(self.weights, answers)
            targets["weights"] = torch.from_numpy(weights.astype(np.float32))
        return Batch(self.rows.take(rows), targets)

    def score(
        self, objective: Classification, machine: Machine, folder: Path | None = None, name: str = "dev"
    ) -> Outcome:
        """predictions-NAME.tsv gets an example a line, in the order of the dev file."""
        scores, kind = predict(objective, self.rows, machine), self.spec.answers
        predicted = kind.decode(scores)
        if folder is not None:
            _write_predictions(folder / f"predictions-{name}.tsv", predicted, self.gold, kind)
        metrics = measure(self.spec.metrics, predicted, self.gold, len(kind.labels))
        headline = self.spec.metrics[0]
        constant, same = kind.constant_score(headline, self.gold), is_constant(predicted)
        return outcome_of(metrics, Look(headline, metrics[headline], constant, same, kind.spread(scores, self.gold)))


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
                f"{self.spec.name}: {truncated:,} of {sum(len(split.gold) for split in found):,} examples were "
                f"cut to {self.recipe.sequence_length} tokens (sequence_length)",
                error=True,
            )
        return splits

    def objective(self, start: PretrainedEncoder, encoder: Encoder) -> Classification:
        objective = build_classification(encoder, start.family, self.spec.answers, self.recipe.compat)
        return start.load_into(objective)

    def _weights(self) -> np.ndarray | None:
        gold, kind = self.data.train.targets, self.spec.answers
        for line in kind.summary(gold):
            say(f"{self.spec.name}: {line}", error=True)
        return class_weights(self.recipe, self.spec, kind.counts(gold), len(gold))

    def _split(self, examples: Examples, start: PretrainedEncoder, weights: np.ndarray | None = None) -> TextDataset:
        rows = encode(examples, start.tokenizer, self.recipe.sequence_length)
        return TextDataset(self.spec, rows, examples.targets, weights)


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


def _write_predictions(path: Path, predicted: np.ndarray, gold: np.ndarray, kind: AnswerKind) -> None:
    lines = zip(map(kind.text, predicted), kind.gold_texts(gold), strict=True)
    with atomic_write(path, "w") as file:
        file.write("index\tprediction\tlabel\n")
        file.writelines(f"{index}\t{answer}\t{label}\n" for index, (answer, label) in enumerate(lines))
