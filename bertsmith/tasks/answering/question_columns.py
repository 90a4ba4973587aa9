"""Questions of one's own: files with a question a line, its context, its answer."""

import re
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.scoring.malformed import OF_A_RUN, Malformed
from bertsmith.tables.cells import Cell, identifier, optional_answer, optional_place, text
from bertsmith.tables.files import read_table
from bertsmith.tables.labels import MISSING_NAMES
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.custom import CustomSettings


def read_question_columns(
    path: Path, settings: CustomSettings, *, training: bool, nearest: bool = False, skip_malformed: bool = False
) -> Questions:
    """Return all questions of a TSV, CSV, JSONL or Parquet file; an empty answer where the context has none.

    Options are those of `bertsmith.tasks.published.squad.read_questions`. Raises UserError as that does, and where an
    answer is not in its context; such a line is one that `skip_malformed` leaves out.
    """
    keys = ("question", "context", "answer", "start", "id")
    named_by = {name: f"custom.{key}=…" for key in keys if (name := getattr(settings, key)) is not None}
    wanted: dict[str, Cell] = {settings.question: text, settings.context: text, settings.answer: optional_answer}
    if len(wanted) < 3:
        raise UserError("custom.question, custom.context and custom.answer: each names a column of its own")
    if settings.start is not None:
        wanted[settings.start] = optional_place
    if settings.id is not None:
        wanted[settings.id] = identifier

    def check(row: dict[str, Any]) -> None:
        answer, context = row[settings.answer], row[settings.context]
        start = row[settings.start] if settings.start else None
        if not answer and not settings.unanswerable:
            raise ValueError(
                f"{settings.answer} is empty; custom.unanswerable=true where that means that there is none"
            )
        if answer in MISSING_NAMES and not re.search(rf"\b{re.escape(answer)}\b", context):
            raise ValueError(
                f"{settings.answer} is {quoted(answer, 60)}, as a missing value is written; leave its cell empty"
            )
        if answer and start is None and answer not in context and not skip_malformed:
            raise ValueError(f"the answer {quoted(answer, 60)} is not in its context; an answer is a stretch of it")

    table = read_table(path, wanted, skip_malformed=skip_malformed, named_by=named_by, check=check)
    questions, malformed = Questions(path, malformed=table.notes), Malformed("lines", OF_A_RUN, skip_malformed)
    starts = table.columns[settings.start] if settings.start else [None] * len(table.lines)
    ids = table.columns[settings.id] if settings.id else [str(line) for line in table.lines]
    columns = (table.columns[name] for name in (settings.question, settings.context, settings.answer))
    for id, line, start, question, context, answer in zip(ids, table.lines, starts, *columns, strict=True):
        where = f"{path}, line {line}"
        is_first = malformed.tried(questions.refuse_twice, id, f"{where}: question {quoted(id, 80)}")
        if not is_first:
            continue
        if skip_malformed and answer and answer not in context:
            questions.leave_out("lines whose answer is not in their context", id)
            continue
        given = [(context.find(answer) if start is None else start, answer)] if answer else []
        if training:
            questions.add_to_learn_from(id, question, context, given, nearest)
        else:
            questions.add(id, question, context, given)
    return questions.finished(malformed)
