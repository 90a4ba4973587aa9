"""A fine-tuned model, opened, and the answers that it gives: a trial of ours, or a Hugging Face folder with classes."""

from collections.abc import Sequence
from typing import NamedTuple

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.hub.heads import MULTI_LABEL
from bertsmith.tasks.answer_kinds.answer_kind import MultiLabelPrediction, Prediction
from bertsmith.tasks.rows import Rows, refuse_truncated
from bertsmith.tasks.runs import Finetuned, load_on_machine
from bertsmith.tasks.task_spec import answer_kind_of
from bertsmith.tasks.texts.examples import Examples, encode
from bertsmith.tasks.texts.text_task import Classification, build_classification, predict_scores
from bertsmith.training.machine import Machine, MachineSettings
from bertsmith.training.models import Model


class Classifier(NamedTuple):
    """A model that classifies texts, on a machine."""

    model: Model
    objective: Classification
    machine: Machine
    pairs: bool | None
    """Whether it answers about pairs of texts; None where that is not known."""

    def ask(
        self, first: Sequence[str], second: Sequence[str] | None = None, truncate: bool = False
    ) -> tuple[list[Prediction] | list[MultiLabelPrediction], int]:
        """Return an answer a text, or a pair of texts, and how many of them were cut, as they were in training. Raises
        UserError where a text is longer than the model, unless `truncate` cuts it, or as `encode`."""
        self._check(second)
        if second is not None and len(first) != len(second):
            raise UserError(f"{len(first)} texts and {len(second)} second ones; each text needs its own")
        if not first:
            return [], 0
        rows = self.encode(first, second)
        if not truncate:
            refuse_truncated(rows, self.model.length)
        return self.answer(rows), rows.truncated

    def encode(self, first: Sequence[str], second: Sequence[str] | None) -> Rows:
        """Return texts or pairs of texts, at least one, as rows of the model's length. Raises UserError where there is
        one text and the task has two, or two and it has one."""
        self._check(second)
        return encode(Examples(first, second, None), self.model.tokenizer, self.model.length)

    def answer(self, rows: Rows) -> list[Prediction] | list[MultiLabelPrediction]:
        """Return an answer a row."""
        return self.objective.answer_kind.predictions(predict_scores(self.objective, rows, self.machine))

    def _check(self, second: Sequence[str] | None) -> None:
        if self.pairs is not None and self.pairs != (second is not None):
            wants = "pairs of texts, separated by a tab" if self.pairs else "single texts, without a tab"
            raise UserError(f"{self.model.path}: was fine-tuned on {wants}")


def open_classifier(model: Model, machine_settings: MachineSettings) -> Classifier:
    """Put a model on a machine whose head tells classes apart, gives any number of labels, or gives a number. Raises
    UserError where a trial's weights are not its head's; the device is not there."""
    network, trial = model.network, model if isinstance(model, Finetuned) else None
    answer_kind = (
        answer_kind_of(network.labels, network.problem_type == MULTI_LABEL) if trial is None else trial.answer_kind
    )
    encoder, compat = Encoder(network.settings, network.vocab_size), trial is not None and trial.recipe.compat
    objective = build_classification(encoder, network.family, answer_kind, compat)
    machine = load_on_machine(objective, model, machine_settings)
    pairs = None if trial is None else len(trial.recipe.spec.columns[0]) == 2
    return Classifier(model, objective, machine, pairs)
