"""TSV, CSV, JSONL and Parquet files in, a `Table` out; what is wrong is named with its file and line."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bertsmith.errors import UserError
from bertsmith.files import read_text
from bertsmith.tasks.table import Table, did_you_mean, shortened

CSV_FIELD_SIZE = 1 << 30
"""Bytes; the csv module's own limit, 128 kB, is too short for a document."""

LONGEST_NAME = 40
"""Characters of a column's name in a message: where a file has no header, its names are texts."""


def read_table(
    path: Path,
    wanted: Sequence[str],
    *,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
    remedy: str = "mend the line, or set skip_malformed=true",
    named_by: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """The columns `wanted` of `path`, whose name ends in .tsv (no quoting), .csv (RFC 4180), .jsonl or .parquet.

    Args:
        header: the names of all columns, for a TSV without a header line.
        skip_malformed: leave malformed lines out, see `Table.left_out`.
        remedy: what a user can do about one, where there is no such setting.
        named_by: column → the setting that names it, where there is one.

    Raises:
        UserError: the file is missing, not UTF-8 or empty; a column is missing; a line is malformed.
    """
    if not path.is_file():
        raise _no_file(path)
    if path.suffix == ".parquet":
        return _read_parquet(path, wanted, named_by)
    text = read_text(path)
    reader = _Reader(path, wanted, skip_malformed, remedy)
    if path.suffix == ".jsonl":
        return reader.read(_objects(text), lambda row: _of_object(row, wanted, named_by))
    rows = _quoted_rows(path, text) if path.suffix == ".csv" else _plain_rows(text)
    if header is None:
        _, header = next(rows, (1, []))
    if not header:
        raise UserError(f"{path}: no examples in this file")
    missing = [name for name in wanted if name not in header]
    if missing:
        raise UserError(f"{path}: {_no_column(missing[0], header, named_by, ' (line 1 names them)')}")
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


class _Fault(str):
    """In the place of a row, what is wrong with it."""


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
        left_out = f"{self.path}: {skipped:,} malformed lines left out; the first is {first}" if skipped else ""
        columns = {name: list(column) for name, column in zip(self.wanted, zip(*kept, strict=True), strict=True)}
        return Table(self.path, columns, lines, left_out)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_ended_lines(text), start=1):
        yield number, line.removesuffix("\r")


def _ended_lines(text: str) -> list[str]:
    """Only line feeds end a line: GLUE has texts with other separators of Unicode inside."""
    return text.rstrip("\n").split("\n") if text.strip() else []


def _plain_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(text):
        yield number, line.split("\t")


def _quoted_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    previous = csv.field_size_limit(CSV_FIELD_SIZE)
    # With their carriage returns: in quotes they are characters of the text, which positions in it count.
    reader = csv.reader((f"{line}\n" for line in _ended_lines(text)), strict=True)
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
            row = json.loads(line)
            if "\\ud" in line.lower():
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            row = _Fault(f"half a character ({error.object[error.start]!a}), as where an emoji was cut in two")
        except (ValueError, RecursionError):
            row = _Fault("not a JSON object")
        yield number, row


def _of_object(row: Any, wanted: Sequence[str], named_by: Mapping[str, str]) -> list[Any] | str:
    if isinstance(row, _Fault):
        return row
    if not isinstance(row, dict):
        return "not a JSON object"
    missing = [name for name in wanted if name not in row]
    return _no_column(missing[0], list(row), named_by) if missing else [row[name] for name in wanted]


def _no_column(name: str, names: Sequence[str], named_by: Mapping[str, str], note: str = "") -> str:
    found = shortened([repr(other if len(other) <= LONGEST_NAME else f"{other[:LONGEST_NAME]}…") for other in names])
    remedy = did_you_mean(name, names) or (f"; {named_by[name]}=… names it" if name in named_by else "")
    return f"no column {name!r}; there are {found or 'none'}{note}{remedy}"


@contextlib.contextmanager
def _parquet_reported(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or not Parquet ({error}); fetch it again") from None


def _no_file(path: Path) -> UserError:
    return UserError(f"{path}: a folder, where a file is wanted" if path.is_dir() else f"{path}: no such file")


def _read_parquet(path: Path, wanted: Sequence[str], named_by: Mapping[str, str]) -> Table:
    import pyarrow.parquet

    with _parquet_reported(path), pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        missing = [name for name in wanted if name not in names]
        if missing:
            raise UserError(f"{path}: {_no_column(missing[0], names, named_by)}")
        table = file.read(columns=list(wanted))
    if not table.num_rows:
        raise UserError(f"{path}: no examples in this file")
    columns = {name: table.column(name).to_pylist() for name in wanted}
    return Table(path, columns, list(range(1, table.num_rows + 1)))
