"""Texts of one's own: a task in files with columns."""

from pathlib import Path

import numpy as np

from bertsmith.errors import UserError
from bertsmith.tasks.custom import CustomSettings, find_file
from bertsmith.tasks.table import Table
from bertsmith.tasks.table_files import read_table
from bertsmith.tasks.task import MOST_LABELS, Task
from bertsmith.tasks.texts.examples import Examples, LabelledTexts


def read_columns(settings: CustomSettings, data: Path, *, skip_malformed: bool = False) -> LabelledTexts:
    """The task in the folder `data`, which holds one file train.* and one file dev.*.

    Classes, and the labels of which a text may have any number, are the training file's, in numeric order where all are
    numbers, otherwise in alphabetical order. A regression's smallest and largest training answers become the model's 0
    and 1.

    Raises:
        UserError: a file or a column is missing; a line is malformed; there is one label only, or a label that the
            training file does not have, or none in a line; an answer is no number, or of multi-label no list of labels.
    """
    texts = [name for name in (settings.text, settings.second_text) if name is not None]
    named_by = {getattr(settings, key): f"custom.{key}" for key in ("label", "second_text", "text")}
    wanted = list(dict.fromkeys([*texts, settings.label]))
    train, dev = (
        read_table(find_file(data, split), wanted, skip_malformed=skip_malformed, named_by=named_by)
        for split in ("train", "dev")
    )
    task = _TASKS[settings.kind](train, settings)
    return LabelledTexts(task, _examples(train, texts, settings, task), _examples(dev, texts, settings, task))


def _classes(train: Table, settings: CustomSettings) -> Task:
    column = settings.label
    labels = _ordered(set(train.labels(column)))
    if not 2 <= len(labels) <= MOST_LABELS:
        raise UserError(
            f"{train.path}: {column} has {len(labels):,} different values; a classification has 2 to {MOST_LABELS:,} "
            f"(custom.label names the column; custom.kind=regression is for numbers, multi-label for several labels)"
        )
    return Task("custom", ("accuracy", "f1", "mcc"), labels)


def _labels(train: Table, settings: CustomSettings) -> Task:
    column, separator = settings.label, settings.separator
    labels = _ordered({label for found in train.label_sets(column, separator) for label in found})
    if not 1 <= len(labels) <= MOST_LABELS:
        raise UserError(
            f"{train.path}: {column} has {len(labels):,} different labels; a task has 1 to {MOST_LABELS:,} "
            f"(custom.label names the column; custom.separator, now {separator!r}, parts labels in a TSV or CSV)"
        )
    return Task("custom", ("f1_micro", "f1_macro", "subset_accuracy"), labels, separator)


def _ordered(labels: set[str]) -> tuple[str, ...]:
    in_order = sorted(labels)
    return tuple(sorted(in_order, key=int) if all(label.isdecimal() for label in in_order) else in_order)


def _regression(train: Table, settings: CustomSettings) -> Task:
    column = settings.label
    numbers = train.numbers(column).astype(np.float32)
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        raise UserError(f"{train.path}: {column} is {low:g} in every line; there is nothing to learn")
    return Task("custom", ("pearson", "spearman"), low=low, high=high)


_TASKS = {"classification": _classes, "multi-label": _labels, "regression": _regression}
"""By `CustomSettings.kind`."""


def _examples(table: Table, texts: list[str], settings: CustomSettings, task: Task) -> Examples:
    columns, left_out = [table.texts(name) for name in texts], (table.left_out,) if table.left_out else ()
    if task.is_regression:
        targets = table.numbers(settings.label).astype(np.float32)
    elif task.is_multi_label:
        targets = table.label_grid(settings.label, task.labels, settings.separator)
    else:
        targets = table.class_ids(settings.label, task.labels)
    return Examples(columns[0], columns[1] if len(columns) > 1 else None, targets, left_out)
