"""The tasks of MRQA 2019: NewsQA, Natural Questions, TriviaQA, SearchQA."""

from functools import partial
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.scoring.malformed import RUN_REMEDY, Malformed
from bertsmith.scoring.questions import mrqa_answers, mrqa_questions_of, part_of
from bertsmith.tasks.answering.files import find_questions, question_spec
from bertsmith.tasks.answering.questions import Questions, each_question

PUBLISHED_NAMES = {
    "newsqa": ("NewsQA",), "naturalqs": ("NaturalQuestionsShort", "NaturalQuestions"),
    "triviaqa": ("TriviaQA-web", "TriviaQA"), "searchqa": ("SearchQA",),
}  # fmt: skip
"""Task → the name of its file in MRQA 2019's folders train and dev."""


def find_mrqa(name: str, data: Path, split: str) -> Path:
    """Return the file of a split, under its published name or the reference's, see `find_questions`."""
    endings = (".jsonl", ".jsonl.gz")
    published = [f"{split}/{called}{ending}" for called in PUBLISHED_NAMES[name] for ending in endings]
    return find_questions(data, split, name, [f"{split}{ending}" for ending in endings], published)


def read_mrqa_questions(
    path: Path, *, training: bool, nearest: bool = False, skip_malformed: bool = False
) -> Questions:
    """Return all questions of a file of JSON lines, compressed by gzip or not. A context's [TLE], [DOC] and [PAR] are
    text like any other, as in the reference.

    Options and errors are those of `bertsmith.tasks.published.squad.read_questions`. For training the answers are the
    detected ones, each at its first place; otherwise they are those that the official script counts.
    """
    questions, malformed = Questions(path), Malformed(remedy=RUN_REMEDY, skip=skip_malformed)
    for question, id, text, context, where in each_question(questions, mrqa_questions_of, malformed):
        if training:
            given = malformed.read_or_skip(_answers, question, context, where)
            if given is not None:
                questions.add_to_learn_from(id, text, context, given, nearest)
        else:  # where they stand is not asked
            texts = malformed.read_or_skip(mrqa_answers, question, where)
            if texts is not None:
                questions.add(id, text, context, [(0, answer) for answer in texts])
    return questions.finished(malformed)


def _answers(question: dict[str, Any], context: str, where: str) -> list[tuple[int, str]]:
    """Return the detected answers, each with its place, at least one."""
    detected = part_of(question, "detected_answers", list, where)
    given = [_first_place(answer, context, f"{where}: a detected answer") for answer in detected]
    given = [(start, wanted) for start, wanted in given if wanted.strip()]
    if not given:
        raise UserError(f"{where} has no detected answer; take it out, nothing can be learnt from it")
    return given


def _first_place(answer: Any, context: str, where: str) -> tuple[int, str]:
    """Return where a detected answer begins, and its text: the context's own where the two differ in case or spaces
    alone."""
    text, spans = part_of(answer, "text", str, where), part_of(answer, "char_spans", list, where)
    if not spans or not isinstance(spans[0], list) or [type(place) for place in spans[0]] != [int, int]:
        raise UserError(f"{where} has no place in its 'char_spans'; is this the task's file?")
    first, last = spans[0]
    stretch = context[max(first, 0) : last + 1]
    return first, stretch if stretch.casefold().split() == text.casefold().split() else text


SPECS = tuple(question_spec(name, partial(find_mrqa, name), read_mrqa_questions) for name in PUBLISHED_NAMES)
