"""A task of one's own: train and dev in one folder, as TSV, CSV, JSONL or Parquet with chosen columns, or with a word
a line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bertsmith.errors import UserError
from bertsmith.settings import setting, settings
from bertsmith.tasks.sentences import tagging_task
from bertsmith.tasks.tables import Table, label_name, read_table
from bertsmith.tasks.task import MOST_LABELS, Examples, LabelledData, Task

ENDINGS = (".tsv", ".csv", ".jsonl", ".parquet")

WORD_ENDINGS = (".txt", ".conll")
"""Of files with a word a line."""


@settings
class CustomSettings:
    """The columns of a custom task; the GLUE tasks have theirs in their table."""

    text: str = setting("sentence", "column of the text", min_length=1)
    second_text: str | None = setting(None, "column of the second text, for pairs", min_length=1)
    label: str = setting("label", "column of the answer", min_length=1)
    kind: Literal["classification", "regression", "tagging"] = setting(
        "classification",
        "classification: the answer is one of the training file's labels; regression: a number; tagging: a tag for "
        "each word, of files with a word a line and its tag in the last column",
    )


def read_custom(settings: CustomSettings, data: Path, *, skip_malformed: bool = False) -> LabelledData:
    """The task in the folder `data`, which holds one file train.* and one file dev.*.

    Classes are the training file's labels, in numeric order where all are numbers, otherwise in alphabetical order. A
    regression's smallest and largest training answers become the model's 0 and 1. Tags: see `tagging_task`.

    Raises:
        UserError: a file or a column is missing; a line is malformed; there is one label only, or a label that the
            training file does not have; an answer is no number. Of tagging as `tagging_task`.
    """
    if settings.kind == "tagging":
        if skip_malformed:
            raise UserError("skip_malformed = true: a sentence would lose words with its lines; mend them instead")
        return tagging_task("custom", *(_find_file(data, split, WORD_ENDINGS) for split in ("train", "dev")))
    texts = [name for name in (settings.text, settings.second_text) if name is not None]
    wanted = list(dict.fromkeys([*texts, settings.label]))
    train, dev = (
        read_table(_find_file(data, split), wanted, skip_malformed=skip_malformed) for split in ("train", "dev")
    )
    task = _regression(train, settings.label) if settings.kind == "regression" else _classes(train, settings.label)
    return LabelledData(task, _examples(train, texts, settings, task), _examples(dev, texts, settings, task))


def _find_file(data: Path, split: str, endings: Sequence[str] = ENDINGS) -> Path:
    found = [path for ending in endings if (path := data / f"{split}{ending}").is_file()]
    if not found:
        raise UserError(f"{data}: no file {split}{', '.join(endings)} in it; data=… names the folder of the task")
    if len(found) > 1:
        raise UserError(f"{data}: both {found[0].name} and {found[1].name}; leave one of them there")
    return found[0]


def _classes(train: Table, column: str) -> Task:
    labels = sorted({label_name(value) for value in train.columns[column]})
    if not 2 <= len(labels) <= MOST_LABELS:
        raise UserError(
            f"{train.path}: {column} has {len(labels):,} different values; a classification has 2 to {MOST_LABELS:,} "
            f"(custom.label names the column, custom.kind=regression is for numbers)"
        )
    if all(label.isdecimal() for label in labels):
        labels.sort(key=int)
    return Task("custom", ("accuracy", "f1", "mcc"), tuple(labels))


def _regression(train: Table, column: str) -> Task:
    numbers = train.numbers(column).astype(np.float32)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        raise UserError(f"{train.path}: {column} is {low:g} in every line; there is nothing to learn")
    return Task("custom", ("pearson", "spearman"), low=low, high=high)


def _examples(table: Table, texts: list[str], settings: CustomSettings, task: Task) -> Examples:
    columns = [table.texts(name) for name in texts]
    if task.is_regression:
        targets = table.numbers(settings.label).astype(np.float32)
    else:
        targets = table.class_ids(settings.label, task.labels)
    return Examples(columns[0], columns[1] if len(columns) > 1 else None, targets, table.skipped)
