"""TSV, CSV, JSONL and Parquet files in, columns of values out; what is wrong is named with its file and line."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.errors import UserError
from bertsmith.files import read_text

CSV_FIELD_SIZE = 1 << 30
"""Bytes; the csv module's own limit, 128 kB, is too short for a document."""

LARGEST = float(np.finfo(np.float32).max)
"""Answers are float32 in training."""


class Table(NamedTuple):
    """The wanted columns of one file, R rows each."""

    path: Path
    columns: dict[str, list[Any]]
    lines: list[int]
    """Line of each row in the file (Parquet: its number), from 1."""
    skipped: int
    """Malformed lines that were left out."""

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
                raise UserError(f"{self.path}, line {line}: {column} is {value!r}; each example needs one label")
        return [label_name(value) for value in self.columns[column]]

    def class_ids(self, column: str, labels: Sequence[str]) -> np.ndarray:
        """[R] int64; `labels` in the order of their ids. Raises UserError where a value is none of them."""
        ids = {label: id for id, label in enumerate(labels)}
        found = [ids.get(label_name(value)) for value in self.columns[column]]
        if None in found:
            row = found.index(None)
            value, line = self.columns[column][row], self.lines[row]
            raise UserError(
                f"{self.path}, line {line}: {column} is {value!r}; the task's labels are {', '.join(labels)}"
            )
        return np.array(found, dtype=np.int64)

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


def label_name(value: Any) -> str:
    """A label as text, alike from all layouts: JSON's true and 1 are "true" and "1"."""
    return json.dumps(value) if isinstance(value, bool | int) else str(value)


def read_table(
    path: Path,
    wanted: Sequence[str],
    *,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
    remedy: str = "mend the line, or set skip_malformed=true",
) -> Table:
    """The columns `wanted` of `path`, whose name ends in .tsv (no quoting), .csv (RFC 4180), .jsonl or .parquet.

    Args:
        header: the names of all columns, for a TSV without a header line.
        skip_malformed: leave malformed lines out and count them.
        remedy: what a user can do about one, where there is no such setting.

    Raises:
        UserError: the file is missing, not UTF-8 or empty; a column is missing; a line is malformed.
    """
    if not path.is_file():
        raise _no_file(path)
    if path.suffix == ".parquet":
        return _read_parquet(path, wanted)
    text = read_text(path)
    reader = _Reader(path, wanted, skip_malformed, remedy)
    if path.suffix == ".jsonl":
        return reader.read(_objects(text), lambda row: _of_object(row, wanted))
    rows = _quoted_rows(path, text) if path.suffix == ".csv" else _plain_rows(text)
    if header is None:
        _, header = next(rows, (1, []))
    if not header:
        raise UserError(f"{path}: no examples in this file")
    missing = [name for name in wanted if name not in header]
    if missing:
        found = ", ".join(map(repr, header)) or "none"
        raise UserError(f"{path}: no column {missing[0]!r}; there are {found} (line 1 names them)")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise UserError(f"{path}, line 1: {header.count(twice[0])} columns are named {twice[0]!r}; rename the others")
    places, num_columns = [header.index(name) for name in wanted], len(header)

    def cells_of(cells: list[str]) -> list[str] | str:
        if len(cells) != num_columns:
            return f"{len(cells)} columns where there should be {num_columns}"
        return [cells[place] for place in places]

    return reader.read(rows, cells_of)


def column_names(path: Path) -> list[str]:
    """Of a file as `read_table` takes it; of JSONL those of the first line. Empty where the file is.

    Raises:
        UserError: the file is missing, not UTF-8 or damaged.
    """
    if not path.is_file():
        raise _no_file(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        with _parquet_reported(path):
            return pyarrow.parquet.read_schema(path).names
    text = read_text(path)
    if path.suffix == ".jsonl":
        _, row = next(_objects(text), (1, {}))
        return list(row) if isinstance(row, dict) else []
    rows = _quoted_rows(path, text) if path.suffix == ".csv" else _plain_rows(text)
    _, header = next(rows, (1, []))
    return header


class _Reader(NamedTuple):
    path: Path
    wanted: Sequence[str]
    skip_malformed: bool
    remedy: str

    def read(self, rows: Iterator[tuple[int, Any]], values_of: Callable[[Any], list[Any] | str]) -> Table:
        """`values_of` gives the wanted values of a row, or what is wrong with it."""
        kept, lines, skipped, first = [], [], 0, ""
        for line, row in rows:
            values = values_of(row)
            if not isinstance(values, str):
                kept.append(values)
                lines.append(line)
            elif self.skip_malformed:
                skipped += 1
                first = first or f"line {line}: {values}"
            else:
                raise UserError(f"{self.path}, line {line}: {values}; {self.remedy}")
        if not kept:
            malformed = f" ({skipped:,} malformed lines; {first})" if skipped else ""
            raise UserError(f"{self.path}: no examples in this file{malformed}")
        columns = {name: list(column) for name, column in zip(self.wanted, zip(*kept, strict=True), strict=True)}
        return Table(self.path, columns, lines, skipped)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Only line feeds end a line: GLUE has texts with other separators of Unicode inside."""
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    for number, line in enumerate(lines, start=1):
        yield number, line.removesuffix("\r")


def _plain_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(text):
        yield number, line.split("\t")


def _quoted_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    previous = csv.field_size_limit(CSV_FIELD_SIZE)
    reader = csv.reader((f"{line}\n" for _, line in _lines(text)), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}); mend the quotes") from None
    finally:
        csv.field_size_limit(previous)


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(text):
        try:
            yield number, json.loads(line)
        except ValueError:
            yield number, None


def _of_object(row: Any, wanted: Sequence[str]) -> list[Any] | str:
    if not isinstance(row, dict):
        return "not a JSON object"
    missing = [name for name in wanted if name not in row]
    return f"no {missing[0]!r}; there are {', '.join(map(repr, row))}" if missing else [row[name] for name in wanted]


@contextlib.contextmanager
def _parquet_reported(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or not Parquet ({error}); fetch it again") from None


def _no_file(path: Path) -> UserError:
    return UserError(f"{path}: a folder, where a file is wanted" if path.is_dir() else f"{path}: no such file")


def _read_parquet(path: Path, wanted: Sequence[str]) -> Table:
    import pyarrow.parquet

    with _parquet_reported(path), pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        missing = [name for name in wanted if name not in names]
        if missing:
            raise UserError(f"{path}: no column {missing[0]!r}; there are {', '.join(map(repr, names))}")
        table = file.read(columns=list(wanted))
    if not table.num_rows:
        raise UserError(f"{path}: no examples in this file")
    columns = {name: table.column(name).to_pylist() for name in wanted}
    return Table(path, columns, list(range(1, table.num_rows + 1)), 0)
