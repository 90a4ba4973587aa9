"""Questions with their contexts and answers, whatever files they come from."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.errors import UserError
from bertsmith.scoring.malformed import Malformed
from bertsmith.scoring.questions import part_of

MISPLACED = "answers that do not stand at their offset"


@dataclass
class Questions:
    """Q questions about texts of which several share one."""

    path: Path = Path()
    """Path of their file; empty where they are of none."""
    contexts: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """Context → its place in `contexts`, which are all different."""
    ids: list[str] = field(default_factory=list)  # [Q]
    texts: list[str] = field(default_factory=list)  # [Q]
    context_of: list[int] = field(default_factory=list)
    """[Q], places in `contexts`."""
    answers: list[list[tuple[int, str]]] = field(default_factory=list)
    """[Q]: where in the context each begins, in characters, with its text; none where the context has no answer."""
    malformed: tuple[str, ...] = ()
    """The `CheckedTable.notes` of the file, where it is a table."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of skipped questions by reason."""
    first_left_out: dict[str, str] = field(default_factory=dict)
    """Reason → the first question that was left out for it, see `names`."""
    names: dict[str, str] = field(default_factory=dict)
    """Every id of the file → the question's name in messages: its file, its line where it has one, its id."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_examples(self) -> int:
        return len(self)

    @property
    def num_characters(self) -> int:
        """Characters of all questions, each with its context."""
        return sum(map(len, self.texts)) + sum(len(self.contexts[place]) for place in self.context_of)

    def context(self, question: int) -> str:
        return self.contexts[self.context_of[question]]

    def gold(self) -> dict[str, list[str]]:
        """Return the texts of the answers by id."""
        return {id: [text for _, text in answers] for id, answers in zip(self.ids, self.answers, strict=True)}

    def take(self, contexts: np.ndarray) -> "Questions":
        """Return the questions about the contexts of these numbers."""
        questions, numbers = Questions(self.path), set(contexts.tolist())
        for number, context in enumerate(self.context_of):
            if context in numbers:
                questions.add(self.ids[number], self.texts[number], self.contexts[context], self.answers[number])
        return questions

    def add(self, id: str, text: str, context: str, answers: list[tuple[int, str]]) -> None:
        """Add a question; a context that was there before is kept once."""
        number = self.places.setdefault(context, len(self.contexts))
        if number == len(self.contexts):
            self.contexts.append(context)
        self.ids.append(id)
        self.texts.append(text)
        self.context_of.append(number)
        self.answers.append(answers)

    def add_to_learn_from(
        self, id: str, text: str, context: str, given: list[tuple[int, str]], nearest: bool = False
    ) -> None:
        """Add a question with those of its answers that stand where they are said to, but for white space, or else,
        with `nearest`, with their nearest occurrences; left out where it has no text, or answers none of which is
        found."""
        if not text.strip():
            self.leave_out("empty questions", id)
            return
        answers = []
        for start, answer_text in given:
            answer = _standing(context, start, answer_text)
            if answer is None:
                places = occurrences(context, answer_text.strip()) if nearest else []
                if not places:
                    self.leave_out("answers that are nowhere in their context" if nearest else MISPLACED, id)
                    continue
                answer = min(places, key=lambda place: abs(place - start)), answer_text.strip()
            answers.append(answer)
        if given and not answers:
            self.leave_out("questions none of whose answers can be found", id)
        else:
            self.add(id, text, context, answers)

    def refuse_twice(self, id: str, where: str) -> bool:
        """Return True. Raises UserError where a question of this id was there before; `where` calls it by its name."""
        if id in self.names:
            raise UserError(f"{where} is there twice; leave one of them")
        self.names[id] = where
        return True

    def leave_out(self, reason: str, id: str) -> None:
        self.left_out[reason] += 1
        self.first_left_out.setdefault(reason, self.names[id])

    def finished(self, malformed: Malformed) -> "Questions":
        """Return these questions, with a count of what of their file was malformed. Raises UserError where there are
        no questions."""
        if malformed.count:
            self.left_out[f"malformed {malformed.noun}"] = malformed.count
            self.first_left_out[f"malformed {malformed.noun}"] = malformed.first
        if not self.ids:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in self.left_out.items())
            raise UserError(f"{self.path}: no questions to use in this file ({reasons or 'it has none'})")
        return self

    @property
    def notes(self) -> list[str]:
        """Lines about what was left out, one a reason."""
        lines = [*self.malformed]
        for reason, number in self.left_out.items():
            remedy = "; answering.nearest=true takes their nearest occurrences" if reason == MISPLACED else ""
            lines.append(f"{number:,} {reason}, left out; the first: {self.first_left_out[reason]}{remedy}")
        return lines

    def fingerprint(self) -> str:
        """Return hex sha256 of all questions, contexts and answers, whatever file they came from."""
        digest = hashlib.sha256()
        for number, id in enumerate(self.ids):
            line = json.dumps([id, self.texts[number], self.context_of[number], self.answers[number]])
            digest.update(f"{line}\n".encode())
        for context in self.contexts:
            digest.update(f"{json.dumps(context)}\n".encode())
        return digest.hexdigest()


QuestionsOf = Callable[[Path, Malformed], Iterator[tuple[Any, Any, str, str]]]
"""Yields the questions of a layout: `questions_of` and `mrqa_questions_of` of `bertsmith.scoring.questions`."""


def each_question(
    questions: Questions, questions_of: QuestionsOf, malformed: Malformed
) -> Iterator[tuple[dict[str, Any], str, str, str, str]]:
    """Yield for each question of the file that `questions` are of: itself, its id, its text, its context, and what to
    call it; an id comes once."""

    def texts(holder: dict[str, Any], question: dict[str, Any], id: str, where: str) -> tuple[str, str]:
        questions.refuse_twice(id, where)
        context = part_of(holder, "context", str, f"{where}: what holds it")
        return part_of(question, "question", str, where), context

    for holder, question, id, where in questions_of(questions.path, malformed):
        if parts := malformed.read_or_skip(texts, holder, question, id, where):
            yield question, id, *parts, where


def read_unanswered(path: Path, questions_of: QuestionsOf) -> Questions:
    """Return all questions of a file; whether it has answers is not looked at. Raises UserError where the file is
    missing or laid out otherwise; an id is there twice; there is no question."""
    questions, malformed = Questions(path), Malformed()
    for _, id, text, context, _ in each_question(questions, questions_of, malformed):
        questions.add(id, text, context, [])
    return questions.finished(malformed)


def _standing(context: str, start: int, wanted: str) -> tuple[int, str] | None:
    """Return where in `context` the answer begins that is said to stand at `start`, and the context's text of it, which
    may differ in white space: around it, in front of it, or of another kind between its words. None where it is not
    there."""
    if start < 0 or not wanted.strip():
        return None
    if context.startswith(wanted, start) and wanted == wanted.strip():
        return start, wanted
    match = re.compile(r"\s*(" + r"\s+".join(map(re.escape, wanted.split())) + ")").match(context, start)
    return (match.start(1), match[1]) if match else None


def occurrences(context: str, wanted: str) -> list[int]:
    """Return all places in `context` where the text is, in characters; none of an empty text."""
    places, place = [], context.find(wanted) if wanted else -1
    while place >= 0:
        places.append(place)
        place = context.find(wanted, place + 1)
    return places
