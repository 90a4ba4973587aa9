"""Questions with their contexts and answers, out of SQuAD's files; what is wrong is counted or named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.scoring.questions import part_of, questions_of


def read_questions(path: Path, *, training: bool, nearest: bool = False, answerable: bool = False) -> Questions:
    """All questions of a file in SQuAD's layout, 1.1 or 2.0.

    Args:
        training: an answer has to stand where it is said to, since it is learnt from, and a question has to have a
            text; otherwise answers may be anywhere, and each question is kept.
        nearest: where it does not stand there, take the nearest occurrence in the context.
        answerable: whether each question has to have an answer.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise; an id is there twice; a question has to have an
            answer and has none; no question is left.
    """
    found = Questions(path)
    for question, text, context, where in _asked(found, path):
        given = []
        if not (training and question.get("is_impossible", False)):
            for answer in part_of(question, "answers", list, where):
                start = part_of(answer, "answer_start", int, f"{where}: an answer")
                given.append((start, part_of(answer, "text", str, f"{where}: an answer")))
        if answerable and not given:
            raise UserError(f"{where} has no answer; questions without one are of squad-v2.0")
        if training:
            found.add_to_learn_from(question["id"], text, context, given, nearest)
        else:
            found.add(question["id"], text, context, given)
    return found.some()


def read_asked_squad(path: Path) -> Questions:
    """All questions of a file in SQuAD's layout; whether it has answers is not looked at.

    Raises:
        UserError: as `read_questions`.
    """
    found = Questions(path)
    for question, text, context, _ in _asked(found, path):
        found.add(question["id"], text, context, [])
    return found.some()


def _asked(found: Questions, path: Path) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    """For each question of the file: itself, its text, its context, and what to call it; an id comes once."""
    for paragraph, question, where in questions_of(path):
        found.refuse_twice(question["id"], where)
        context = part_of(paragraph, "context", str, f"{where}: its paragraph")
        yield question, part_of(question, "question", str, where), context, where
