"""A fine-tuned model that answers questions, opened: a trial of ours, or a Hugging Face folder with its head."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.storage.json_files import read_json
from bertsmith.tasks.answering.answering import Answering
from bertsmith.tasks.answering.best_answers import SpanAnswer, best_answers, find_candidates, null_odds
from bertsmith.tasks.answering.question_task import build_answering, say_what_is_cut
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.answering.windows import cut_into_windows
from bertsmith.tasks.runs import Finetuned, load_on_machine
from bertsmith.training.machine import Machine, MachineSettings
from bertsmith.training.models import Model


class Answerer(NamedTuple):
    """A model that answers questions, on a machine."""

    model: Model
    objective: Answering
    machine: Machine
    null_threshold: float = math.inf
    """Null odds above which there is no answer."""

    def answer(self, questions: Sequence[str], contexts: Sequence[str], truncate: bool = False) -> list[SpanAnswer]:
        """Return an answer to each question, out of the context beside it. Raises UserError where there are not as many
        contexts as questions; a question has no text, or is longer than the model takes, unless `truncate` cuts it."""
        self._check(questions, contexts, truncate)
        if not questions:
            return []
        numbered = Questions()
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            numbered.add(str(number), question, context, [])
        return self.with_threshold(self.best_spans(numbered))

    def best_spans(self, questions: Questions) -> list[SpanAnswer]:
        """Return the likeliest span for each question, also where there may be none; of a longer question the beginning
        alone is read."""
        settings, model = self.objective.settings, self.model
        windows = cut_into_windows(questions, model.tokenizer, model.length, settings.stride, settings.question_length)
        say_what_is_cut(model.path, windows, settings)
        candidates = find_candidates(self.objective, windows, self.machine)
        best = best_answers(candidates, windows, questions)
        odds: list[float | None] = [None] * len(questions)
        if self.objective.may_have_none:
            odds = null_odds(candidates, windows, best, settings.joint).tolist()
        return [
            answers[0]._replace(null_odds=value) if answers else SpanAnswer("", None, None, value)
            for answers, value in zip(best, odds, strict=True)
        ]

    def with_threshold(self, answers: list[SpanAnswer]) -> list[SpanAnswer]:
        """Return the answers, without their texts where the null odds are above the threshold."""

        def is_none(answer: SpanAnswer) -> bool:
            return answer.null_odds is not None and answer.null_odds > self.null_threshold

        return [answer._replace(text="", start=None, prob=None) if is_none(answer) else answer for answer in answers]

    def _check(self, questions: Sequence[str], contexts: Sequence[str], truncate: bool) -> None:
        if len(questions) != len(contexts):
            raise UserError(f"{len(questions)} questions and {len(contexts)} contexts; each question needs its own")
        longest = self.objective.settings.question_length
        encoded = self.model.tokenizer.encode_each(list(questions))
        for number, (question, context, ids) in enumerate(zip(questions, contexts, encoded, strict=True), start=1):
            if not question.strip():
                raise UserError(
                    f"question {number} of {len(questions)} has no text; ask something of its context, {context!r:.60}"
                )
            if len(ids) > longest and not truncate:
                raise UserError(
                    f"a question has {len(ids)} tokens, and the model was fine-tuned on {longest}; shorten it, or have "
                    f"it cut (--truncate, truncate=True): {question:.60}"
                )


def open_answerer(model: Model, machine_settings: MachineSettings, threshold: float | None = None) -> Answerer:
    """Put a model on a machine whose head finds answers. A folder's always answers, since it does not say whether it
    learnt not to; where a trial's questions may be without an answer and no `threshold` is given, it is the recipe's;
    without one, what gave the trial its best F1 on dev. Raises UserError where a trial's weights are not its head's;
    the device is not there."""
    network = model.network
    encoder = Encoder(network.settings, network.vocab_size)
    if isinstance(model, Finetuned):
        objective = build_answering(model.recipe, encoder, network.family)
    else:
        settings = AnsweringSettings(joint=False, question_length=min(64, (model.length - 3) // 2))
        objective = Answering(encoder, network.settings.answer_head(), settings)
    machine = load_on_machine(objective, model, machine_settings)
    if not (isinstance(model, Finetuned) and objective.may_have_none):
        threshold = math.inf
    elif threshold is None:
        threshold = model.recipe.answering.null_threshold
        if threshold is None:
            threshold = _best_on_dev(model)
    return Answerer(model, objective, machine, threshold)


def _best_on_dev(trial: Finetuned) -> float:
    """Return the threshold that gave the best F1. The script's 0 for answering nothing is of odds that are
    probabilities."""
    scores = read_json(trial.folder / "eval.json")
    answering_nothing = 100.0 * scores.get("NoAns_total", 0) / scores["total"]
    if scores["best_f1"] > answering_nothing:
        return float(scores["best_f1_thresh"])
    say(f"{trial.path}: did best on dev by giving no answer at all, and gives none", error=True)
    return -math.inf
