"""A task of one's own: what its files are called and which columns they have."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bertsmith.config.fields import setting, settings
from bertsmith.errors import FilesNotFound, UserError
from bertsmith.storage.files import files_named

ENDINGS = (".tsv", ".csv", ".jsonl", ".parquet")

WORD_ENDINGS = (".txt", ".conll")
"""Of files with a word a line."""

TEXTS = ("kind = classification", "kind = multi-label", "kind = regression")
TEXTS_AND_WORDS = (*TEXTS, "kind = tagging")
ANSWERING = ("kind = answering",)
"""The kinds that a setting is of."""


@settings
class CustomSettings:
    """The columns of a custom task; the GLUE tasks have theirs in their table."""

    text: str = setting("sentence", "column of the text", min_length=1, only=TEXTS_AND_WORDS)
    second_text: str | None = setting(None, "column of the second text, for pairs", min_length=1, only=TEXTS)
    label: str = setting("label", "column of the answer", min_length=1, only=TEXTS_AND_WORDS)
    kind: Literal["classification", "multi-label", "regression", "tagging", "answering"] = setting(
        "classification",
        "classification: the answer is one of the training file's labels; multi-label: any number of them; regression: "
        "a number; tagging: a tag for each word, in lists, or a word a line with its tag in the last column of a .txt "
        "or .conll; answering: a stretch of a context",
    )
    separator: str = setting(
        ",",
        "multi-label: what separates the labels in a cell of a TSV or CSV; other layouts have lists, and so may a cell",
        min_length=1,
        only=("kind = multi-label",),
    )
    weights: dict[str, float] = setting(
        {}, "label → how much its examples count in the loss, 1 where none is given; of multi-label those that have it"
    )
    question: str = setting("question", "of answering, column of the question", min_length=1, only=ANSWERING)
    context: str = setting(
        "context", "of answering, column of the text that has the answer", min_length=1, only=ANSWERING
    )
    answer: str = setting("answer", "of answering, column of the answer's text", min_length=1, only=ANSWERING)
    start: str | None = setting(
        None,
        "of answering, column of the character that the answer begins with; otherwise the first one it fits",
        min_length=1,
        only=ANSWERING,
    )
    id: str | None = setting(
        None, "of answering, column of the questions' ids; otherwise their lines", min_length=1, only=ANSWERING
    )
    unanswerable: bool = setting(
        False, "of answering, whether an empty answer means that the context has none", only=ANSWERING
    )

    @property
    def tags(self) -> set[str]:
        return {f"kind = {self.kind}"}

    def __post_init__(self) -> None:
        for label, weight in self.weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"weights.{label} = {weight!r}: a weight is a number above 0")


def find_file(data: Path, split: str, endings: Sequence[str] = ENDINGS) -> Path:
    """Return the file of this split in the folder, whose name may be in upper case. Raises UserError where there is
    none, or more than one."""
    if not data.is_dir():
        what = "a file" if data.exists() else "no such folder"
        raise FilesNotFound(f"{data}: {what}; data=… names the folder of the task")
    path = only_file(data, [split + ending for ending in endings])
    if path is None:
        words = files_named(data, [split + ending for ending in WORD_ENDINGS])
        remedy = f"there is {words[0].name}: custom.kind=tagging?" if words else "data=… names the folder of the task"
        raise FilesNotFound(f"{data}: no file {split}{', '.join(endings)} in it; {remedy}")
    return path


def only_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the file of one of these names, in upper or lower case; None where there is none. Raises UserError where
    there are several."""
    paths = files_named(folder, names)
    if len(paths) > 1:
        raise UserError(f"{folder}: both {paths[0].name} and {paths[1].name}; leave one of them there")
    return paths[0] if paths else None
