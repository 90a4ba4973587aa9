"""Questions with their contexts and answers, out of the files of MRQA 2019."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.scoring.malformed import OF_A_RUN, Malformed
from bertsmith.scoring.questions import mrqa_answers, mrqa_questions_of, part_of
from bertsmith.tasks.answering.questions import Questions


def read_mrqa_questions(
    path: Path, *, training: bool, nearest: bool = False, skip_malformed: bool = False
) -> Questions:
    """Return all questions of a file of JSON lines, compressed by gzip or not. A context's [TLE], [DOC] and [PAR] are
    text like any other, as in the reference.

    Args:
        training: the answers are the detected ones, each where it was found first, which have to stand there, and a
            question has to have a text; otherwise they are those that the official script counts, and each question is
            kept.
        nearest: where one does not stand there, take its nearest occurrence in the context.
        skip_malformed: leave out, and count, questions that are not laid out as they should be, have no answer, or are
            there twice, and lines that are not JSON.

    Raises:
        UserError: the file is missing, damaged or laid out otherwise; an id is there twice; a question has no answer;
            no question is left.
    """
    questions, malformed = Questions(path), Malformed(remedy=OF_A_RUN, skip=skip_malformed)
    for question, id, text, context, where in _asked(questions, path, malformed):
        if training:
            given = malformed.tried(_answers, question, context, where)
            if given is not None:
                questions.add_to_learn_from(id, text, context, given, nearest)
        else:  # where they stand is not asked
            texts = malformed.tried(mrqa_answers, question, where)
            if texts is not None:
                questions.add(id, text, context, [(0, answer) for answer in texts])
    questions.leave_out_malformed(malformed)
    return questions.not_empty()


def read_asked_mrqa(path: Path) -> Questions:
    """Return all questions of a file in MRQA's layout; whether it has answers is not looked at.

    Raises:
        UserError: as `read_mrqa_questions`.
    """
    questions = Questions(path)
    for _, id, text, context, _ in _asked(questions, path, Malformed()):
        questions.add(id, text, context, [])
    return questions.not_empty()


def _asked(found: Questions, path: Path, malformed: Malformed) -> Iterator[tuple[dict[str, Any], str, str, str, str]]:
    """Yield for each question of the file: itself, its id, its text, its context, and what to call it; an id comes
    once."""

    def texts(line: dict[str, Any], question: dict[str, Any], id: str, where: str) -> tuple[str, str]:
        found.refuse_twice(id, where)
        return part_of(question, "question", str, where), part_of(line, "context", str, where)

    for line, question, id, where in mrqa_questions_of(path, malformed):
        if asked := malformed.tried(texts, line, question, id, where):
            yield question, id, *asked, where


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
