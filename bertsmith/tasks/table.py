"""Columns of values, as texts, labels or numbers; what is wrong is named with its file and line."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.errors import UserError

MOST_NAMED = 20
"""Labels or columns in a message."""

LARGEST = float(np.finfo(np.float32).max)
"""Answers are float32 in training."""


class Table(NamedTuple):
    """The wanted columns of one file, R rows each."""

    path: Path
    columns: dict[str, list[Any]]
    lines: list[int]
    """Line of each row in the file (Parquet: its number), from 1."""
    left_out: str = ""
    """How many malformed lines were, and the first of them; empty where none was."""

    def texts(self, column: str) -> list[str]:
        """Raises UserError where a value is not text."""
        values = self.columns[column]
        for value, line in zip(values, self.lines, strict=True):
            if not isinstance(value, str):
                raise UserError(f"{self.path}, line {line}: {column} is {value!r}; it must be text")
        return values

    def labels(self, column: str) -> list[str]:
        """Raises UserError where a value is no label: empty, missing, or of several parts."""
        for value, line in zip(self.columns[column], self.lines, strict=True):
            if value is None or value == "" or isinstance(value, list | dict):
                of_several = " (custom.kind=multi-label takes lists)" if isinstance(value, list) else ""
                raise UserError(
                    f"{self.path}, line {line}: {column} is {value!r}; each example needs one label{of_several}"
                )
        return [label_name(value) for value in self.columns[column]]

    def class_ids(self, column: str, labels: Sequence[str]) -> np.ndarray:
        """[R] int64; `labels` in the order of their ids. Raises UserError where a value is none of them."""
        ids = {label: id for id, label in enumerate(labels)}
        found = [ids.get(label_name(value)) for value in self.columns[column]]
        if None in found:
            row = found.index(None)
            value, line = self.columns[column][row], self.lines[row]
            raise UserError(
                f"{self.path}, line {line}: {column} is {value!r}; the task's labels are {shortened(labels)}"
                f"{did_you_mean(label_name(value), labels)}"
            )
        return np.array(found, dtype=np.int64)

    def word_lists(self, column: str) -> list[list[str]]:
        """Each row's words, which white space parts where they are not a list. Raises UserError where there is no such
        list, or a word of it is none."""
        found = []
        for value, line in zip(self.columns[column], self.lines, strict=True):
            words = value.split() if isinstance(value, str) else value
            are_texts = isinstance(words, list) and all(isinstance(word, str) for word in words)
            if not are_texts or " ".join(words).split() != words:
                raise UserError(
                    f"{self.path}, line {line}: {column} is {value!r:.80}; it must be words, or names of tags, in a "
                    f"list or parted by spaces"
                )
            found.append(words)
        return found

    def label_sets(self, column: str, separator: str) -> list[list[str]]:
        """Each row's labels, which a TSV or CSV has in one cell and the other layouts as a list. Raises UserError where
        there is no such list, or an empty label."""
        cells = self.path.suffix in (".tsv", ".csv")
        found = []
        for value, line in zip(self.columns[column], self.lines, strict=True):
            if cells:
                labels = [label.strip() for label in value.split(separator)] if value.strip() else []
            elif isinstance(value, list) and all(isinstance(label, str | bool | int) for label in value):
                labels = [label_name(label).strip() for label in value]
            else:
                raise UserError(
                    f"{self.path}, line {line}: {column} is {value!r}; it must be a list of labels, [] for none"
                )
            if "" in labels:
                raise UserError(
                    f"{self.path}, line {line}: {column} is {value!r}, with an empty label in it; mend it (in a TSV or "
                    f"CSV custom.separator, now {separator!r}, parts the labels)"
                )
            found.append(labels)
        return found

    def label_grid(self, column: str, labels: Sequence[str], separator: str) -> np.ndarray:
        """[R, C] bool, which of `labels` each row has. Raises UserError where it has others."""
        ids = {label: id for id, label in enumerate(labels)}
        grid = np.zeros((len(self.lines), len(labels)), dtype=bool)
        for row, found in enumerate(self.label_sets(column, separator)):
            for label in found:
                if label not in ids:
                    raise UserError(
                        f"{self.path}, line {self.lines[row]}: {column} has {label!r}; the task's labels are "
                        f"{shortened(labels)}{did_you_mean(label, labels)}"
                    )
                grid[row, ids[label]] = True
        return grid

    def numbers(self, column: str) -> np.ndarray:
        """[R] float64. Raises UserError where a value is not a number, or none that float32 can hold."""
        numbers = np.empty(len(self.lines))
        for row, (value, line) in enumerate(zip(self.columns[column], self.lines, strict=True)):
            try:
                numbers[row] = float(value)
            except (TypeError, ValueError, OverflowError):
                numbers[row] = np.nan
            if not abs(numbers[row]) <= LARGEST:
                raise UserError(f"{self.path}, line {line}: {column} is {value!r}; it must be a number")
        return numbers


def shortened(names: Sequence[str]) -> str:
    """The first of them, for a message, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """The nearest of `names`, as the end of a message; empty where none is near."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def label_name(value: Any) -> str:
    """A label as text, alike from all layouts: JSON's true and 1 are "true" and "1"."""
    return json.dumps(value) if isinstance(value, bool | int) else str(value)
