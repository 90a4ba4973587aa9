"""Texts and pairs of texts with their answers, those of one's own files with columns, and as token rows."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.console.terminal import say
from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import ending
from bertsmith.tables.cells import Cell, are_zeros_and_ones, label_set, number, text
from bertsmith.tables.files import CheckedTable, read_table
from bertsmith.tables.labels import class_names, is_blank, label_of
from bertsmith.tasks.answer_kinds.labels import AnyLabels, OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.custom import CustomSettings, find_file
from bertsmith.tasks.rows import Rows, encode_texts, join_rows
from bertsmith.tasks.task_spec import MAX_LABELS, TaskData, TaskSpec
from bertsmith.tokenizers.tokenizer import Tokenizer


class Examples(NamedTuple):
    """One split of a task; N examples."""

    first: Sequence[str]
    second: Sequence[str] | None
    """None for a task of single texts."""
    targets: np.ndarray | None
    """[N]: int64 class ids, or float64 answers as the file has them; [N, C] bool where a text has any number of C
    labels; None where the split has no labels."""
    notes: tuple[str, ...] = ()
    """Lines about examples that were left out as malformed."""

    @property
    def num_examples(self) -> int:
        return len(self.first)

    @property
    def num_characters(self) -> int:
        return sum(map(len, self.first)) + sum(map(len, self.second or ()))

    @property
    def has_pairs(self) -> bool:
        return self.second is not None

    def take(self, numbers: np.ndarray) -> "Examples":
        """Return the labelled examples of these numbers, in this order."""
        assert self.targets is not None
        second = None if self.second is None else [self.second[number] for number in numbers]
        return Examples([self.first[number] for number in numbers], second, self.targets[numbers])

    def fingerprint(self) -> str:
        """Return hex sha256 of texts and targets, whatever file they came from."""
        digest = hashlib.sha256()
        for texts in (self.first, self.second or ()):
            for each in texts:
                digest.update(each.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(b"\1")
        digest.update(b"" if self.targets is None else _bytes_of(self.targets))
        return digest.hexdigest()


def _bytes_of(targets: np.ndarray) -> bytes:
    """Return what stands for the targets in a hash: of numbers their float32, as in versions that had no others, and
    all that they have where that tells fewer of them apart."""
    if targets.dtype != np.float64:
        return targets.tobytes()
    short = targets.astype(np.float32)
    return short.tobytes() + (targets.tobytes() if len(np.unique(short)) < len(np.unique(targets)) else b"")


def in_both_orders(examples: Examples) -> Examples:
    """Return every pair, then every pair the other way round: 2N examples."""
    assert examples.second is not None and examples.targets is not None
    return Examples(
        [*examples.first, *examples.second],
        [*examples.second, *examples.first],
        np.concatenate([examples.targets, examples.targets]),
    )


def check_count(path: Path, num_examples: int, published: Sequence[int]) -> None:
    """Raise UserError where a file has none of the `published` numbers of examples."""
    if num_examples not in published:
        raise UserError(
            f"{path}: {num_examples:,} examples where {' or '.join(f'{number:,}' for number in published)} were "
            f"published; fetch the file again, or set check_counts=false"
        )


def encode(examples: Examples, tokenizer: Tokenizer, length: int) -> Rows:
    """Return rows of at most `length` tokens; of a pair that is longer, the longer side loses one token at a time.

    Source: google-research/bert, run_classifier.py, _truncate_seq_pair.
    """
    segments = [encode_texts(texts, tokenizer) for texts in (examples.first, examples.second) if texts is not None]
    budget = length - 2 - (len(segments) - 1) * tokenizer.num_separators
    truncated = np.sum([texts.lengths for texts in segments], axis=0) > budget
    if len(segments) == 1:
        segments = [segments[0].cut(budget)]
    else:
        lengths = truncate_pairs(segments[0].lengths, segments[1].lengths, budget)
        segments = [texts.cut(fitting) for texts, fitting in zip(segments, lengths, strict=True)]
    specials = (tokenizer.cls_id, tokenizer.sep_id)
    return join_rows(segments, specials, int(truncated.sum()), tokenizer.num_separators)


def truncate_pairs(first: np.ndarray, second: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut pairs of lengths [N] so that no two add up to more than `budget`.

    What is left when the longer side loses a token until both fit, the second one where they are equally long: half
    of the budget (the first side's half is rounded up), or more where the other side needs less.
    """
    half = budget // 2
    return (
        np.minimum(first, np.maximum(budget - half, budget - second)),
        np.minimum(second, np.maximum(half, budget - first)),
    )


_BITS = re.compile(r"[01]([ ;|,]*[01])+")
"""A multi-hot vector as one label."""


def read_columns(settings: CustomSettings, data: Path, *, skip_malformed: bool = False) -> TaskData:
    """Return the task in the folder `data`, which holds one file train.* and one file dev.*.

    Classes, and the labels of which a text may have any number, are the training file's, in numeric order where all are
    numbers, otherwise in alphabetical order. A regression's smallest and largest training answers become the model's 0
    and 1.

    Raises:
        UserError: a file or a column is missing; a line is malformed, without a text, or without an answer of its kind;
            there is one label only, or a label that the training file does not have.
    """
    texts = list(dict.fromkeys(name for name in (settings.text, settings.second_text) if name is not None))
    if settings.label in texts:
        raise UserError(f"custom.label = {quoted(settings.label, 60)}: the column of a text; name that of the answers")
    named_by = {getattr(settings, key): f"custom.{key}=…" for key in ("label", "second_text", "text")}
    if settings.second_text is None:
        named_by[settings.text] += " (for pairs custom.second_text=… too)"
    paths = [find_file(data, split) for split in ("train", "dev")]

    def check(row: dict[str, Any]) -> None:
        if all(is_blank(row[name]) for name in texts):
            raise ValueError(f"{' and '.join(texts)} {'are' if len(texts) > 1 else 'is'} empty; there must be a text")

    def read(path: Path, answer: Cell) -> CheckedTable:
        wanted: dict[str, Cell] = {settings.label: answer} | dict.fromkeys(texts, text)
        return read_table(path, wanted, skip_malformed=skip_malformed, named_by=named_by, check=check)

    train = read(paths[0], _answer_cell(settings, paths[0]))
    spec = {"classification": _classes, "multi-label": _labels, "regression": _regression}[settings.kind](
        train, settings
    )
    _say_what_looks_quoted(train, texts)
    dev = read(paths[1], spec.answers.known(_answer_cell(settings, paths[1])))
    return TaskData(spec, _examples(train, texts, settings.label, spec), _examples(dev, texts, settings.label, spec))


def _say_what_looks_quoted(table: CheckedTable, texts: Sequence[str]) -> None:
    """Say where the quotes of a TSV, which are characters of its texts, are written as a CSV writes them."""
    if ending(table.path) != ".tsv":
        return
    cells = (cell for name in texts for cell in zip(table.columns[name], table.lines, strict=True))
    lines = [line for cell, line in cells if _is_quoted(cell)]
    if lines:
        say(
            f"{table.path}, line {lines[0]}: a text with doubled quotes, as a CSV writes them ({len(lines):,} in the "
            f"file); a TSV has no quoting, so they are read as characters. If that is not meant, write a .csv",
            error=True,
        )


def _is_quoted(text: str) -> bool:
    """Return whether a text is in quotes, and has doubled ones inside."""
    inside = text[1:-1]
    return text[:1] == text[-1:] == '"' and '""' in inside and '"' not in inside.replace('""', "")


def _classes(train: CheckedTable, settings: CustomSettings) -> TaskSpec:
    column = settings.label
    labels = class_names(zip(train.columns[column], train.lines, strict=True), train.path, column)
    if not 2 <= len(labels) <= MAX_LABELS:
        raise UserError(
            f"{train.path}: {column} has {len(labels):,} different values; a classification has 2 to {MAX_LABELS:,} "
            f"(custom.label names the column; custom.kind=regression is for numbers, multi-label for several labels)"
        )
    return TaskSpec("custom", ("accuracy", "f1", "mcc"), OneLabel(tuple(labels.values())))


def _labels(train: CheckedTable, settings: CustomSettings) -> TaskSpec:
    column, separator, sets = settings.label, settings.separator, train.columns[settings.label]
    if len(sets[0]) > 1 and all(len(found) == len(sets[0]) and are_zeros_and_ones(found) for found in sets):
        raise UserError(
            f"{train.path}: {column} has {len(sets[0])} zeros and ones in every line, a vector of them (multi-hot)? "
            f"Write the names of the labels that each text has"
        )
    by_line = ((label, line) for found, line in zip(sets, train.lines, strict=True) for label in found)
    labels = class_names(by_line, train.path, column)
    if labels and all(_BITS.fullmatch(name) for name in labels.values()):
        raise UserError(
            f"{train.path}: {column} has zeros and ones alone, as {quoted(next(iter(labels.values())), 60)}, vectors "
            f"of them (multi-hot)? Write the names of the labels that each text has"
        )
    if not 1 <= len(labels) <= MAX_LABELS:
        raise UserError(
            f"{train.path}: {column} has {len(labels):,} different labels; a task has 1 to {MAX_LABELS:,} "
            f"(custom.label names the column; custom.separator, now {quoted(separator, 20)}, separates labels in a "
            f"TSV or CSV)"
        )
    return TaskSpec("custom", ("f1_micro", "f1_macro", "subset_accuracy"), AnyLabels(tuple(labels.values()), separator))


def _regression(train: CheckedTable, settings: CustomSettings) -> TaskSpec:
    column, numbers = settings.label, train.columns[settings.label]
    low, high = min(numbers), max(numbers)
    if low == high:
        raise UserError(f"{train.path}: {column} is {low:g} in every line; there is nothing to learn")
    return TaskSpec("custom", ("pearson", "spearman"), Number(low=low, high=high))


def _answer_cell(settings: CustomSettings, path: Path) -> Cell:
    """Return how the cells with answers are read."""
    if settings.kind == "multi-label":
        return label_set(settings.separator, in_cells=ending(path) in (".tsv", ".csv"))
    return number if settings.kind == "regression" else label_of


def _examples(table: CheckedTable, texts: Sequence[str], column: str, spec: TaskSpec) -> Examples:
    first, *second = (table.columns[name] for name in texts)
    return Examples(first, second[0] if second else None, spec.answers.gold(table.columns[column]), table.notes)
