"""Questions of one's own: files with a question a line, its context, its answer."""

from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.table_files import read_table


def read_question_columns(
    path: Path, settings: CustomSettings, *, training: bool, nearest: bool = False, skip_malformed: bool = False
) -> Questions:
    """All questions of a TSV, CSV, JSONL or Parquet file; an empty answer where the context has none.

    Args:
        training, nearest: as for SQuAD's files, where the file has a column of starts.
        skip_malformed: leave out, and count, malformed lines and those whose answer is not in their context.

    Raises:
        UserError: a file or a column is missing; a line is malformed; an id is there twice; an answer is empty where
            none may be, or is not in its context; no question is left.
    """
    keys = ("question", "context", "answer", "start", "id")
    named_by = {name: f"custom.{key}" for key in keys if (name := getattr(settings, key)) is not None}
    table = read_table(path, list(named_by), skip_malformed=skip_malformed, named_by=named_by)
    found = Questions(path, malformed=table.left_out)
    table.columns[settings.answer] = [_or_none(answer) for answer in table.columns[settings.answer]]
    starts: list[Any] = table.columns[settings.start] if settings.start else [None] * len(table.lines)
    ids = [str(id) for id in (table.columns[settings.id] if settings.id else table.lines)]
    columns = (table.texts(name) for name in (settings.question, settings.context, settings.answer))
    for id, line, start, text, context, answer in zip(ids, table.lines, starts, *columns, strict=True):
        where = f"{path}, line {line}"
        found.refuse_twice(id, f"{where}: question {id!r}")
        if not answer and not settings.unanswerable:
            raise UserError(
                f"{where}: {settings.answer} is empty; custom.unanswerable=true where that means that there is none"
            )
        if skip_malformed and answer and answer not in context:
            found.leave_out("lines whose answer is not in their context", id)
            continue
        given = [(_place(answer, context, start, where), answer)] if answer else []
        if training:
            found.add_to_learn_from(id, text, context, given, nearest)
        else:
            found.add(id, text, context, given)
    return found.some()


def _or_none(answer: Any) -> Any:
    """Return an answer, of white space alone the empty one."""
    return "" if answer is None or (isinstance(answer, str) and not answer.strip()) else answer


def _place(answer: str, context: str, start: Any, where: str) -> int:
    if start is None or start == "":
        place = context.find(answer)
        if place < 0:
            raise UserError(
                f"{where}: the answer {answer!r:.60} is not in its context; an answer is a stretch of it; mend the "
                f"line, or set skip_malformed=true"
            )
        return place
    try:
        number = int(start)
        if isinstance(start, float) and number != start:
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: the answer begins at {start!r}; it must be a whole number, in characters") from None
