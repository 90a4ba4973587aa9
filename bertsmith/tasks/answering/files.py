"""A task of questions: its files, whatever they are called, and the questions in them; files of one's own."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.errors import FilesNotFound, UserError, quoted
from bertsmith.scoring.malformed import RUN_REMEDY, Malformed
from bertsmith.storage.files import files_named
from bertsmith.tables.cells import Cell, identifier, optional_answer, optional_place, text
from bertsmith.tables.files import read_table
from bertsmith.tables.labels import MISSING_NAMES
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.task_spec import TaskData, TaskSpec

ANSWERABLE_METRICS = ("exact_match", "f1")

UNANSWERABLE_METRICS = ("best_f1", "best_exact", "f1", "exact")
"""At the best thresholds first, as dev figures of SQuAD 2.0 are published: what a model scores at a threshold that was
set for another one says more about the threshold."""


def question_spec(
    name: str,
    find: Callable[[Path, str], Path],
    read: Callable[..., Questions],
    *,
    may_have_none: bool = False,
    columns: tuple[str, str] = ("question", "context"),
) -> TaskSpec:
    """Return a task of questions.

    Args:
        find: gives the file of a split ("train", "dev") in a folder.
        read: gives the questions of a file, with the options `training`, `nearest` and `skip_malformed`, see
            `bertsmith.tasks.published.squad.read_questions`.
    """
    metrics = UNANSWERABLE_METRICS if may_have_none else ANSWERABLE_METRICS
    spec = TaskSpec(name, metrics, may_have_none=may_have_none, input="questions", columns=(columns,))

    def read_split(recipe: Any, split: str) -> Questions:
        named = {"train": recipe.answering.train, "dev": recipe.answering.dev}[split]
        path = find(Path(recipe.data), split) if named is None else Path(named)
        options = {"nearest": recipe.answering.nearest, "skip_malformed": recipe.skip_malformed}
        return read(path, training=split == "train", **options)

    return replace(spec, read=lambda recipe: TaskData(spec, read_split(recipe, "train"), read_split(recipe, "dev")))


def find_questions(data: Path, split: str, folder: str, names: Sequence[str], published: Sequence[str] = ()) -> Path:
    """Return the file of a split, in upper or lower case, in the folder `data` or in its `folder`: one of `names`, or
    of the `published` ones, "split/name". Raises UserError where there is none, or more than one."""
    paths = []
    for place in (data, data / folder):
        paths += files_named(place, names)
        paths += files_named(place / split, [Path(name).name for name in published])
    if not paths:
        raise FilesNotFound(
            f"{data}: no {split} file in it, under none of the names {', '.join([*names, *published])}; data=… names "
            f"the task's folder, answering.{split}=… a file"
        )
    if len(paths) > 1:
        raise UserError(
            f"{data}: both {paths[0].relative_to(data)} and {paths[1].relative_to(data)}; name the one that is meant "
            f"in answering.{split}=…"
        )
    return paths[0]


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
    questions, malformed = Questions(path, malformed=table.notes), Malformed("lines", RUN_REMEDY, skip_malformed)
    starts = table.columns[settings.start] if settings.start else [None] * len(table.lines)
    ids = table.columns[settings.id] if settings.id else [str(line) for line in table.lines]
    columns = (table.columns[name] for name in (settings.question, settings.context, settings.answer))
    for id, line, start, question, context, answer in zip(ids, table.lines, starts, *columns, strict=True):
        where = f"{path}, line {line}"
        is_first = malformed.read_or_skip(questions.refuse_twice, id, f"{where}: question {quoted(id, 80)}")
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
