"""The rows of TSV, CSV, JSONL and Parquet files with their line numbers, as their layouts have them.

A line ends with a line feed, a carriage return, or both, whatever the layout. A blank line is no row, but where a TSV
has one column and rows follow.
"""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.storage.files import LINE_END, ending, reported
from bertsmith.storage.json_files import json_value

CSV_FIELD_SIZE = 1 << 30
"""Bytes; the csv module's own limit, 128 kB, is too short for a document."""

_UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of bytes that are not UTF-8."""


class Fault(str):
    """The reason why a row cannot be read, in its place."""


class TableRows(NamedTuple):
    """A file's rows, to be gone through once."""

    names: Sequence[str]
    """The names of the columns; of JSONL those of the first object."""
    rows: Iterator[tuple[int, Mapping[str, Any] | Fault]]
    """Each with its line, of Parquet its number, from 1."""


def read_rows(path: Path, wanted: Sequence[str] | None = None, header: Sequence[str] | None = None) -> TableRows:
    """Return the rows of a file whose name ends in .tsv (no quoting), .csv (RFC 4180), .jsonl or .parquet.

    Args:
        wanted: the columns that are needed, where not all are.
        header: the names of all columns, for a TSV without a header line.

    Raises:
        UserError: the file is missing, or damaged; here or while its rows are gone through.
    """
    if not path.is_file():
        raise UserError(f"{path}: a folder, where a file is wanted" if path.is_dir() else f"{path}: no such file")
    if ending(path) == ".parquet":
        return _parquet_rows(path, wanted)
    text = _decoded(path)
    if ending(path) == ".jsonl":
        objects, seen = ((line, _object(row)) for line, row in _lines(text) if row.strip()), []
        for line, row in objects:
            seen.append((line, row))
            if not isinstance(row, Fault):
                break
        names = [] if not seen or isinstance(seen[-1][1], Fault) else list(seen[-1][1])
        return TableRows(names, chain(seen, objects))
    is_csv = ending(path) == ".csv"
    records = _quoted_records(path, text) if is_csv else ((line, row.split("\t")) for line, row in _lines(text))
    if header is None:
        line, header = next(((line, cells) for line, cells in records if any(cells)), (1, []))
        if _UNDECODABLE.search("".join(header)):
            raise UserError(f"{path}, line {line}: not UTF-8; convert the file")
    return TableRows(header, _by_name(records, header))


def refuse_double(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise UserError where two columns have the name of one of `wanted`."""
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise UserError(
            f"{path}, line 1: {names.count(twice[0])} columns are named {quoted(twice[0], 60)}; rename the others"
        )


def _decoded(path: Path) -> str:
    with reported(path):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("utf-8-sig", "surrogateescape")  # each row is looked at


def _damage(text: str) -> Fault | None:
    if _UNDECODABLE.search(text):
        return Fault("not UTF-8")
    return Fault("zero bytes, as a power cut leaves them") if "\0" in text else None


def _by_name(
    records: Iterator[tuple[int, list[str]]], header: Sequence[str]
) -> Iterator[tuple[int, dict[str, str] | Fault]]:
    for line, cells in records:
        if len(cells) != len(header):
            if len(cells) > 1 or cells[0].strip():
                yield line, Fault(f"{len(cells)} columns where there should be {len(header)}")
        elif damage := _damage("".join(cells)):
            yield line, damage
        elif len(cells) > 1 and cells == list(header):
            yield line, Fault("the header once more, as where files were put together")
        else:
            yield line, dict(zip(header, cells, strict=True))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines up to the last one that is not empty, with their numbers."""
    return enumerate(LINE_END.split(text.rstrip("\r\n")), start=1)


def _quoted_records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    previous = csv.field_size_limit(CSV_FIELD_SIZE)
    # With the line ends that there are: in quotes they are characters of the text, which positions in it count.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: not CSV ({error}); fix the quotes, which skip_malformed does not cover"
        ) from None
    finally:
        csv.field_size_limit(previous)


def _object(line: str) -> dict[str, Any] | Fault:
    if damage := _damage(line):
        return damage
    try:
        row = json_value(line, non_finite=True)
        if "\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return Fault(f"half a character ({error.object[error.start]!a}), as where an emoji was cut in two")
    except json.JSONDecodeError as error:
        return Fault(f"not a JSON object ({error.msg})")
    except ValueError as error:
        return Fault(f"not a JSON object: {error}")
    if not isinstance(row, dict):
        return Fault(f"not a JSON object but {quoted(row, 40)}; a line is one object, with a value for each column")
    return row


@contextlib.contextmanager
def parquet_reported(path: Path) -> Iterator[None]:
    """Turn what the library says of a damaged file into a `UserError`."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = one_line(error)
        raise UserError(f"{path}: damaged or not Parquet ({reason}); fetch it again") from None


def read_parquet(path: Path, wanted: Sequence[str] | None = None) -> Any:
    """Return a Parquet file as a `pyarrow.Table`, of the columns `wanted` that it has; the checksums of its pages are
    checked where it has any. Raises UserError where it is damaged."""
    import pyarrow.parquet

    with parquet_reported(path), pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        columns = None if wanted is None else [name for name in dict.fromkeys(wanted) if name in names]
        table = file.read(columns=columns)
        table.validate(full=True)
        return table


def _parquet_rows(path: Path, wanted: Sequence[str] | None) -> TableRows:
    import pyarrow.parquet

    with parquet_reported(path):
        names = pyarrow.parquet.read_schema(path).names
    if len(set(names)) < len(names):
        refuse_double(path, names, names if wanted is None else wanted)
    table = read_parquet(path, wanted)
    with parquet_reported(path):
        columns = {name: parquet_values(table.column(name)) for name in table.column_names}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return TableRows(names, enumerate(rows, start=1))


def parquet_values(column: Any) -> list[Any]:
    """Return the values of a `pyarrow.ChunkedArray`: of float32 with the digits that it has, of text that is not UTF-8
    its bytes, of what Python has no type for its text."""
    import numpy as np
    import pyarrow

    type = column.type
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        return column.cast(pyarrow.large_binary()).to_pylist()
    except (ValueError, OverflowError):
        return column.cast(pyarrow.large_string()).to_pylist()
    if pyarrow.types.is_float32(type) or pyarrow.types.is_float16(type):
        narrow = np.float32 if pyarrow.types.is_float32(type) else np.float16
        return [None if value is None else float(str(narrow(value))) for value in values]
    return values
