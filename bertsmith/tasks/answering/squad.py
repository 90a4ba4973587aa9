"""Questions with their contexts and answers, out of SQuAD's files; what is wrong is counted or named."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.tasks.scoring.questions import part_of, questions_of


@dataclass
class Questions:
    """Q questions about texts of which several share one."""

    contexts: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """[Q]."""
    texts: list[str] = field(default_factory=list)
    """[Q]."""
    context_of: list[int] = field(default_factory=list)
    """[Q], places in `contexts`."""
    answers: list[list[tuple[int, str]]] = field(default_factory=list)
    """[Q]: where in the context each begins, in characters, with its text; none where the context has no answer."""
    left_out: Counter = field(default_factory=Counter)
    """What was skipped, by reason."""

    def __len__(self) -> int:
        return len(self.ids)

    def context(self, question: int) -> str:
        return self.contexts[self.context_of[question]]


def read_questions(path: Path, *, training: bool, nearest: bool = False) -> Questions:
    """All questions of a file in SQuAD's layout, 1.1 or 2.0.

    Args:
        training: an answer has to stand where it is said to, since it is learnt from; otherwise it may be anywhere.
        nearest: where it does not stand there, take the nearest occurrence in the context.

    Raises:
        UserError: the file is missing, not JSON or laid out otherwise; an id is there twice; no question is left.
    """
    found, seen = Questions(), set()
    for paragraph, question, where in questions_of(path):
        if question["id"] in seen:
            raise UserError(f"{where} is there twice; leave one of them")
        seen.add(question["id"])
        context = part_of(paragraph, "context", str, f"{where}: its paragraph")
        _add(found, question, context, where, training, nearest)
    if not found.ids:
        raise UserError(f"{path}: no questions to use in this file ({_reasons(found)})")
    return found


def _add(found: Questions, question: dict[str, Any], context: str, where: str, training: bool, nearest: bool) -> None:
    text = part_of(question, "question", str, where)
    if not text.strip():
        found.left_out["empty questions"] += 1
        return
    answers = []
    for answer in () if question.get("is_impossible", False) else part_of(question, "answers", list, where):
        wanted = part_of(answer, "text", str, f"{where}: an answer")
        start = part_of(answer, "answer_start", int, f"{where}: an answer")
        if training and context[start : start + len(wanted)] != wanted:
            occurrences = _occurrences(context, wanted) if nearest else []
            if not occurrences:
                found.left_out["answers that do not stand at their offset"] += 1
                continue
            start = min(occurrences, key=lambda place: abs(place - start))
        answers.append((start, wanted))
    if training and not answers and not question.get("is_impossible", False) and question["answers"]:
        found.left_out["questions none of whose answers can be found"] += 1
        return
    if not found.contexts or found.contexts[-1] != context:
        found.contexts.append(context)
    found.ids.append(question["id"])
    found.texts.append(text)
    found.context_of.append(len(found.contexts) - 1)
    found.answers.append(answers)


def _occurrences(context: str, wanted: str) -> list[int]:
    places, place = [], context.find(wanted) if wanted else -1
    while place >= 0:
        places.append(place)
        place = context.find(wanted, place + 1)
    return places


def _reasons(found: Questions) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in found.left_out.items()) or "it has none"
