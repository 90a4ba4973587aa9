"""The tasks there are, by name: what their examples are, how their files are read, what their columns are called.

A new task is one entry here and the file that reads it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bertsmith.config.registry import Registry
from bertsmith.tasks.answering.files import MRQA_NAMES, SQUAD_FOLDERS, read_asked
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.texts.boolq import COLUMNS, read_boolq
from bertsmith.tasks.texts.columns import read_columns
from bertsmith.tasks.texts.glue import GLUE, read_glue
from bertsmith.tasks.words.sentences import read_chunking, read_custom_tagging

Columns = list[tuple[str, ...]]


class TaskEntry(NamedTuple):
    """A task that `bertsmith finetune` knows."""

    kind: Literal["texts", "words", "questions"]
    """What is given an answer: a text or a pair of them, each word, or a question about a text."""
    read: Callable[[Any], Any]
    """Reads the task's files, given the `FinetuneRecipe`; returns the examples that this kind of task takes."""
    columns: Callable[[CustomSettings], Columns]
    """What the columns of a table that hold its texts are called; several where they go by several names."""
    benchmark: str = ""
    """Of which the task is a part, with published numbers of examples; empty where there are none."""


def _glue(name: str) -> TaskEntry:
    def read(recipe: Any) -> Any:
        options = {"check_counts": recipe.check_counts, "skip_malformed": recipe.skip_malformed}
        return read_glue(name, Path(recipe.data), **options)

    columns = list(dict.fromkeys([GLUE[name].texts, GLUE[name].hub_texts]))
    return TaskEntry("texts", read, lambda custom: columns, "GLUE")


def _read_boolq(recipe: Any) -> Any:
    return read_boolq(Path(recipe.data), check_counts=recipe.check_counts, skip_malformed=recipe.skip_malformed)


def _read_chunking(recipe: Any) -> Any:
    return read_chunking(Path(recipe.data), skip_malformed=recipe.skip_malformed)


def _read_columns(recipe: Any) -> Any:
    return read_columns(recipe.custom, Path(recipe.data), skip_malformed=recipe.skip_malformed)


def _read_tagging(recipe: Any) -> Any:
    return read_custom_tagging(recipe.custom, Path(recipe.data), skip_malformed=recipe.skip_malformed)


def _text_columns(custom: CustomSettings) -> Columns:
    return [tuple(name for name in (custom.text, custom.second_text) if name is not None)]


def _question_columns(custom: CustomSettings) -> Columns:
    return [(custom.question, custom.context)]


TASKS: Registry[TaskEntry] = Registry("task", {
    **{name: _glue(name) for name in GLUE},
    "boolq": TaskEntry("texts", _read_boolq, lambda custom: [COLUMNS], "SuperGLUE"),
    "chunk": TaskEntry("words", _read_chunking, lambda custom: [("text",)]),
    **{name: TaskEntry("questions", read_asked, _question_columns) for name in (*SQUAD_FOLDERS, *MRQA_NAMES)},
})  # fmt: skip

_CUSTOM_TEXTS = TaskEntry("texts", _read_columns, _text_columns)

CUSTOM_TASKS: dict[str, TaskEntry] = {
    **dict.fromkeys(("classification", "multi-label", "regression"), _CUSTOM_TEXTS),
    # A file with a word a line has no columns, so what is to be tagged may be called "text" as well.
    "tagging": TaskEntry("words", _read_tagging, lambda custom: [(custom.text,), ("text",)]),
    "answering": TaskEntry("questions", read_asked, _question_columns),
}
"""Of the user's own files, by `CustomSettings.kind`."""
