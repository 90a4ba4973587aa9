"""SQuAD 1.1 and 2.0; what is wrong in their files is counted or named."""

from functools import partial
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.scoring.malformed import RUN_REMEDY, Malformed
from bertsmith.scoring.questions import is_impossible, part_of, place_of, questions_of
from bertsmith.tasks.answering.files import find_questions, question_spec
from bertsmith.tasks.answering.questions import Questions, each_question

FOLDERS = {"squad-v1.1": "squadv1", "squad-v2.0": "squad"}
"""The reference's folder of a task."""


def find_squad(name: str, data: Path, split: str) -> Path:
    """Return the file of a split, see `find_questions`."""
    return find_questions(data, split, FOLDERS[name], [f"{split}-{name.removeprefix('squad-')}.json", f"{split}.json"])


def read_questions(
    path: Path, *, training: bool, nearest: bool = False, answerable: bool = False, skip_malformed: bool = False
) -> Questions:
    """Return all questions of a file in SQuAD's layout, 1.1 or 2.0. An answer of white space alone is none.

    Args:
        training: an answer has to stand where it is said to, since it is learnt from, and a question has to have a
            text; otherwise answers may be anywhere, and each question is kept.
        nearest: where it does not stand there, take the nearest occurrence in the context.
        answerable: whether each question has to have an answer.
        skip_malformed: leave out, and count, questions that are not laid out as they should be or are there twice.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise; an id is there twice; a question has to have an
            answer and has none; no question is left.
    """
    questions, malformed = Questions(path), Malformed(remedy=RUN_REMEDY, skip=skip_malformed)
    for question, id, text, context, where in each_question(questions, questions_of, malformed):
        answers = malformed.read_or_skip(_answers, question, where, training, answerable)
        if answers is None:
            continue
        impossible, given = answers
        if training and impossible is False and not given:
            questions.leave_out("questions that are said to have an answer and have none", id)
        elif training:
            questions.add_to_learn_from(id, text, context, given, nearest)
        else:
            questions.add(id, text, context, given)
    return questions.finished(malformed)


def _answers(
    question: dict[str, Any], where: str, training: bool, answerable: bool
) -> tuple[bool | None, list[tuple[int, str]]]:
    """Return whether a question is said to have no answer, and those that it has, each with its place."""
    impossible, given = is_impossible(question, where), []
    for answer in part_of(question, "answers", list, where) if not (training and impossible) else []:
        called = f"{where}: an answer"
        if (wanted := part_of(answer, "text", str, called)).strip():
            given.append((place_of(answer, called), wanted))
    if answerable and not given:
        raise UserError(f"{where} has no answer; questions without one are of squad-v2.0")
    return impossible, given


SPECS = (
    question_spec("squad-v1.1", partial(find_squad, "squad-v1.1"), partial(read_questions, answerable=True)),
    question_spec("squad-v2.0", partial(find_squad, "squad-v2.0"), read_questions, may_have_none=True),
)
