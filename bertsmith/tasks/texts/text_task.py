"""Classes, labels and numbers of texts, as a task with its objective: GLUE's tasks, and one's own."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.objectives.objective import Batch, Losses
from bertsmith.storage.files import atomic_write
from bertsmith.tasks.answer_kinds.answer_kind import AnswerKind
from bertsmith.tasks.dataset import Dataset, Datasets, Outcome, outcome_of
from bertsmith.tasks.metrics import is_constant, measure
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.rows import Rows, scored
from bertsmith.tasks.task import SupervisedObjective, Task, class_weights
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.tasks.texts.examples import Examples, encode, in_both_orders
from bertsmith.training.machine import Machine


class Classification(SupervisedObjective):
    """An encoder with a head on each row's [CLS] or mean, and the loss of a kind of answer."""

    def __init__(self, encoder: Encoder, head: nn.Module, answer_kind: AnswerKind, compat: bool = False):
        """Join an encoder and a `head` of `bertsmith.encoders.heads` for classes."""
        super().__init__(encoder, head, compat)
        self.answer_kind = answer_kind

    def scores(self, tokens: Tokens) -> Tensor:
        """Return [N, C]: a logit a class or label, or the number."""
        return self.head(self.encoder.pooled(tokens))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        return {"loss": self.answer_kind.loss_count(batch.targets)}

    def losses(self, batch: Batch) -> Losses:
        """Return `loss`, see `AnswerKind.loss`."""
        scores = self.scores(batch.tokens).float()
        return Losses({"loss": self.answer_kind.loss(scores, batch.targets)}, self.counts(batch))


def build_classification(
    encoder: Encoder, family: str, answer_kind: AnswerKind, compat: bool = False
) -> Classification:
    """Return the objective with a head of random weights."""
    settings, outputs = encoder.settings, answer_kind.num_outputs
    head = PlainClassificationHead(settings, outputs) if compat else settings.classification_head(outputs, family)
    return Classification(encoder, head, answer_kind, compat)


@dataclass(frozen=True)
class TextDataset(Dataset):
    """Texts or pairs of texts with their answers."""

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
        """Predict and score all texts; predictions-NAME.tsv gets an example a line, in the order of the dev file."""
        scores, answer_kind = predict_scores(objective, self.rows, machine), self.spec.answers
        predicted = answer_kind.decode(scores)
        if folder is not None:
            _write_predictions(folder / f"predictions-{name}.tsv", predicted, self.gold, answer_kind)
        metrics = measure(self.spec.metrics, predicted, self.gold, len(answer_kind.labels))
        majority_score = answer_kind.majority_score(self.spec.metrics[0], self.gold)
        return outcome_of(metrics, is_constant(predicted), majority_score, answer_kind.spread(scores, self.gold))


@dataclass(frozen=True)
class TextTask(Task):
    """A task of texts or pairs of texts."""

    def encode(self, pretrained: PretrainedEncoder) -> Datasets:
        datasets = super().encode(pretrained)
        parts = [datasets.train, *datasets.dev.values(), *datasets.held_out.values()]
        truncated = sum(part.rows.truncated for part in parts)
        if truncated:
            say(
                f"{self.spec.name}: {truncated:,} of {sum(len(part.gold) for part in parts):,} examples were "
                f"cut to {self.recipe.sequence_length} tokens (sequence_length)",
                error=True,
            )
        return datasets

    def encode_examples(self, examples: Examples, pretrained: PretrainedEncoder) -> TextDataset:
        assert examples.targets is not None
        rows = encode(examples, pretrained.tokenizer, self.recipe.sequence_length)
        return TextDataset(self.spec, rows, examples.targets)

    def encode_train(self, examples: Examples, pretrained: PretrainedEncoder) -> TextDataset:
        if self.spec.symmetric and self.recipe.double_unordered:
            examples = in_both_orders(examples)
        gold, answer_kind = self.data.train.targets, self.spec.answers
        for line in answer_kind.summary(gold):
            say(f"{self.spec.name}: {line}", error=True)
        weights = class_weights(self.recipe, self.spec, answer_kind.counts(gold), len(gold))
        return replace(self.encode_examples(examples, pretrained), weights=weights)

    def objective(self, pretrained: PretrainedEncoder, encoder: Encoder) -> Classification:
        objective = build_classification(encoder, pretrained.family, self.spec.answers, self.recipe.compat)
        return pretrained.load_into(objective)


def predict_scores(objective: Classification, rows: Rows, machine: Machine) -> np.ndarray:
    """Return scores [N, C] float32 of all rows."""
    scores = np.empty((len(rows.lengths), objective.answer_kind.num_outputs), dtype=np.float32)
    for chosen, _, outputs in scored(objective, rows, machine):
        scores[chosen] = outputs.float().cpu().numpy()
    return scores


def _write_predictions(path: Path, predicted: np.ndarray, gold: np.ndarray, answer_kind: AnswerKind) -> None:
    lines = zip(map(answer_kind.text, predicted), answer_kind.gold_texts(gold), strict=True)
    with atomic_write(path, "w") as file:
        file.write("index\tprediction\tlabel\n")
        file.writelines(f"{index}\t{answer}\t{label}\n" for index, (answer, label) in enumerate(lines))
