"""Questions about texts, as a task: SQuAD, MRQA 2019, and one's own."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.console.shell import quote
from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import JointAnswerHead
from bertsmith.errors import UserError, quoted
from bertsmith.objectives.objective import Batch
from bertsmith.scoring.text_answers import score_answerable, score_answers
from bertsmith.storage.json_files import write_json
from bertsmith.tasks.answering.answering import Answering, JointAnswering
from bertsmith.tasks.answering.best_answers import best_answers, find_candidates, null_odds, spread_of_places
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.settings import AnsweringSettings
from bertsmith.tasks.answering.windows import Windows, cut_into_windows
from bertsmith.tasks.dataset import Dataset, Outcome, outcome_of
from bertsmith.tasks.early_stopping import split_held_out
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task import Task
from bertsmith.tasks.task_spec import TaskSpec
from bertsmith.training.machine import Machine


@dataclass(frozen=True)
class QuestionDataset(Dataset):
    """Questions with their answers; its rows are windows."""

    spec: TaskSpec
    questions: Questions
    windows: Windows
    places: np.ndarray
    """[W, 2] int16: first and last place of the answer in the window's row; 0 where it is not there, or is none."""
    settings: AnsweringSettings

    @property
    def lengths(self) -> np.ndarray:
        return self.windows.lengths

    def batch(self, rows: np.ndarray) -> Batch:
        starts, ends = torch.from_numpy(self.places[rows]).unbind(dim=1)
        impossible = [not self.questions.answers[question] for question in self.windows.question_of[rows]]
        targets = {"starts": starts.contiguous(), "ends": ends.contiguous(), "impossible": torch.tensor(impossible)}
        return Batch(self.windows.take(rows), targets)

    def score(self, objective: Answering, machine: Machine, folder: Path | None = None, name: str = "dev") -> Outcome:
        """Predict and score all questions: preds.json gets the best text of each question by its id; null_odds.json,
        where questions may be without an answer, how likely each one is; eval.json all that the official script says of
        the two, in percent."""
        candidates = find_candidates(objective, self.windows, machine)
        best = best_answers(candidates, self.windows, self.questions)
        texts = {id: answers[0].text if answers else "" for id, answers in zip(self.questions.ids, best, strict=True)}
        written: dict[str, Any] = {"preds": texts}
        gold = self.questions.gold()
        if self.spec.may_have_none:
            odds_by_question = null_odds(candidates, self.windows, best, self.settings.joint)
            odds = dict(zip(self.questions.ids, odds_by_question.tolist(), strict=True))
            scores = score_answerable(gold, texts, odds, self.settings.threshold)
            written["null_odds"] = odds
        else:
            scores = score_answers(gold, texts)
        if folder is not None:
            for file, content in (written | {"eval": scores}).items():
                write_json(folder / f"{file}.json", content)
        metrics = {metric: scores[metric] / 100 for metric in self.spec.metrics}
        same = len(set(texts.values())) == 1
        return outcome_of(metrics, same, constant_answer_score(gold), spread_of_places(best, self.questions))


def constant_answer_score(gold: Mapping[str, list[str]]) -> float | None:
    """Return the headline's score of always giving the commonest answer, or none, by F1; None where there is no
    other."""
    commonest = Counter(text for answers in gold.values() for text in set(answers) or {""}).most_common(1)[0][0]
    if all(commonest in (answers or [""]) for answers in gold.values()):
        return None
    texts = dict.fromkeys(gold, commonest)
    return score_answerable(gold, texts)["f1"] / 100


@dataclass(frozen=True)
class QuestionTask(Task):
    """A task of questions about texts."""

    def check(self, pretrained: PretrainedEncoder) -> None:
        recipe, settings = self.recipe, self.recipe.answering
        trained, length = pretrained.trained_length, recipe.sequence_length
        if trained is not None and trained < length and not settings.force_length:
            raise UserError(
                f"{recipe.model}: has seen no row of more than {trained} tokens, and sequence_length = {length}; first "
                f"`bertsmith pretrain continue {quote(f'init={recipe.model}')} rows.length={length} data=… --out …` "
                f"(of an ELECTRA with objective.kind=rtd), or answering.force_length=true"
            )
        super().check(pretrained)
        if length - 3 - settings.question_length < 1:
            raise UserError(
                f"sequence_length = {length} has no room behind questions of {settings.question_length} tokens "
                f"(answering.question_length); lengthen the one or shorten the other"
            )

    def held_out_indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Divide whole contexts, so that none that is held out is known from training."""
        return split_held_out(len(self.data.train.contexts), self.recipe.early_stopping.share, "contexts")

    def encode_examples(self, examples: Questions, pretrained: PretrainedEncoder) -> QuestionDataset:
        settings, length = self.recipe.answering, self.recipe.sequence_length
        windows = cut_into_windows(examples, pretrained.tokenizer, length, settings.stride, settings.question_length)
        say_what_is_cut(examples.path, windows, settings)
        return QuestionDataset(self.spec, examples, windows, first_answers(examples, windows), settings)

    def encode_train(self, examples: Questions, pretrained: PretrainedEncoder) -> QuestionDataset:
        train = self.encode_examples(examples, pretrained)
        num_windows = np.bincount(train.windows.question_of, train.places[:, 0] > 0, len(train.questions))
        lost = np.flatnonzero((num_windows == 0) & np.array([bool(answers) for answers in train.questions.answers]))
        if len(lost):
            say(
                f"{self.data.train.path}: {len(lost):,} of {len(train.questions):,} questions have their answer whole "
                f"in no window, and are learnt as if it were not there; the first is "
                f"{quoted(train.questions.ids[lost[0]], 80)}; a smaller answering.stride has windows overlap more",
                error=True,
            )
        return train

    def objective(self, pretrained: PretrainedEncoder, encoder: Encoder) -> Answering:
        return pretrained.load_into(build_answering(self.recipe, encoder, pretrained.family))


def say_what_is_cut(path: Path, windows: Windows, settings: AnsweringSettings) -> None:
    """Say on standard error where questions have lost their end; `path` is of their file, or of who is questions."""
    if windows.num_truncated:
        say(
            f"{path}: {windows.num_truncated:,} of {len(windows.context_of):,} questions were cut to "
            f"{settings.question_length} tokens (answering.question_length)",
            error=True,
        )


def build_answering(recipe: FinetuneRecipe, encoder: Encoder, family: str) -> Answering:
    """Return the objective with a head of random weights."""
    settings, may_have_none = recipe.answering, recipe.spec.may_have_none
    if settings.joint:
        joint_head = JointAnswerHead(encoder.settings, may_have_none)
        return JointAnswering(encoder, joint_head, settings, may_have_none, recipe.compat)
    return Answering(encoder, encoder.settings.answer_head(), settings, may_have_none, recipe.compat)


def first_answers(questions: Questions, windows: Windows) -> np.ndarray:
    """Return [W, 2] int16: first and last place of the question's first answer in each window; 0 where it is not whole
    in it.

    Source: google-research/electra, finetune/qa/qa_tasks.py, which learns from the first answer alone.
    """
    places = np.zeros((len(windows), 2), dtype=np.int16)
    for window, question in enumerate(windows.question_of.tolist()):
        answers = questions.answers[question]
        place = windows.answer_places(window, answers[0]) if answers else None
        if place is not None:
            places[window] = place
    return places
