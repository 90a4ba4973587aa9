"""A fine-tuned model, opened, and the answers that it gives: a trial of ours, or a Hugging Face folder with classes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.tasks.cautions import softmax
from bertsmith.tasks.inference import placed
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.runs import Finetuned, load_weights
from bertsmith.tasks.texts.classification import Classification, build_classification
from bertsmith.tasks.texts.encode import encode
from bertsmith.tasks.texts.examples import Examples
from bertsmith.tasks.texts.text_task import on_scale, predict
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, MachineSettings
from bertsmith.training.models import Model

LEAST_PROB = 0.5
"""From here on a text has a label."""


class Prediction(NamedTuple):
    """What a model says of a text."""

    label: str | None
    """The likeliest class; None of a regression."""
    value: float
    """Its probability; of a regression the number, on the task's scale."""
    probs: dict[str, float]
    """Of all classes."""
    decimals: int = 4
    """Of a number, how many behind the point have a meaning on the task's scale."""


class Labels(NamedTuple):
    """What a multi-label model says of a text."""

    labels: tuple[str, ...]
    """Those with a probability of at least `LEAST_PROB`, the likeliest first; there may be none."""
    probs: dict[str, float]
    """Of all labels, each for itself."""


class Classifier(NamedTuple):
    """A fine-tuned model on a machine."""

    path: Path
    objective: Classification
    tokenizer: Tokenizer
    machine: Machine
    length: int
    """Longest row, in tokens."""
    labels: tuple[str, ...]
    """Empty for a regression."""
    pairs: bool | None
    """Whether it answers about pairs of texts; None where nobody says."""
    low: float = 0.0
    high: float = 1.0
    """Regression: the answers that the model gives as 0 and as 1."""
    multi_label: bool = False
    """Whether a text may have any number of the labels; the answers are `Labels` then."""

    def classify(
        self, first: Sequence[str], second: Sequence[str] | None = None, truncate: bool = False
    ) -> list[Prediction] | list[Labels]:
        """An answer a text, or a pair of texts.

        Raises:
            UserError: one text where the task has two, or two where it has one; a text longer than the model, unless
                `truncate` cuts it.
        """
        answers, num_cut = self.ask(first, second)
        if num_cut and not truncate:
            raise UserError(
                f"{num_cut} of {len(first)} texts are longer than the model's {self.length} tokens; shorten them, or "
                f"have them cut (truncate=True)"
            )
        return answers

    def ask(
        self, first: Sequence[str], second: Sequence[str] | None = None
    ) -> tuple[list[Prediction] | list[Labels], int]:
        """An answer a text, or a pair of texts, and how many of them were cut, as they were in training.

        Raises:
            UserError: one text where the task has two, or two where it has one.
        """
        if not first:
            self._check(second)
            return [], 0
        rows = self.encode(first, second)
        return self.answer(rows), rows.truncated

    def encode(self, first: Sequence[str], second: Sequence[str] | None) -> Rows:
        """At least one text, or pair of texts, as rows; `truncated` of them were cut to the model's length.

        Raises:
            UserError: one text where the task has two, or two where it has one.
        """
        self._check(second)
        return encode(Examples(first, second, None), self.tokenizer, self.length)

    def answer(self, rows: Rows) -> list[Prediction] | list[Labels]:
        """An answer a row."""
        scores = predict(self.objective, rows, self.machine)
        if not self.labels:
            decimals = max(0, 4 - math.floor(math.log10(self.high - self.low)))
            numbers = on_scale(scores[:, 0], self.low, self.high).tolist()
            return [Prediction(None, value, {}, decimals) for value in numbers]
        if self.multi_label:
            from scipy.special import expit

            probs = expit(scores)
            return [_labels(dict(zip(self.labels, row, strict=True))) for row in probs.tolist()]
        return [_answer(dict(zip(self.labels, row, strict=True))) for row in softmax(scores).tolist()]

    def _check(self, second: Sequence[str] | None) -> None:
        if self.pairs is not None and self.pairs != (second is not None):
            wants = "pairs of texts, separated by a tab" if self.pairs else "single texts, without a tab"
            raise UserError(f"{self.path}: was fine-tuned on {wants}")
        if second is not None and self.objective.encoder.settings.num_segments == 1:
            raise UserError(f"{self.path}: knows one kind of segment, so it takes no pairs of texts")


def open_classifier(model: Model, machine_settings: MachineSettings) -> Classifier:
    """Put a model on a machine whose head tells classes apart, gives any number of labels, or gives a number.

    Raises:
        UserError: a trial's weights are not its head's; the device is not there.
    """
    network, trial = model.network, model if isinstance(model, Finetuned) else None
    encoder, outputs = Encoder(network.settings, network.vocab_size), len(network.labels) or 1
    objective = build_classification(encoder, network.family, outputs, trial is not None and trial.recipe.compat)
    load_weights(objective, model)
    low, high = (0.0, 1.0) if trial is None else (trial.manifest.get("low"), trial.manifest.get("high"))
    return Classifier(
        model.path, objective, model.tokenizer, placed(objective, model.tokenizer, machine_settings), model.length,
        network.labels, None if trial is None else len(trial.recipe.columns[0]) == 2, low, high, network.multi_label,
    )  # fmt: skip


def _answer(probs: dict[str, float]) -> Prediction:
    label = max(probs, key=probs.__getitem__)
    return Prediction(label, probs[label], probs)


def _labels(probs: dict[str, float]) -> Labels:
    chosen = [label for label, prob in probs.items() if prob >= LEAST_PROB]
    return Labels(tuple(sorted(chosen, key=lambda label: -probs[label])), probs)
