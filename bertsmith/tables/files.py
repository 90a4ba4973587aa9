"""TSV, CSV, JSONL and Parquet files in, a `CheckedTable` out; what is wrong is named with its file and line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import ending
from bertsmith.tables.cells import Cell, did_you_mean, few_of
from bertsmith.tables.rows import Fault, TableRows, read_rows, refuse_double

LINE_REMEDY = "fix the line, or set skip_malformed=true"


class CheckedTable(NamedTuple):
    """The wanted columns of one file, R rows each."""

    path: Path
    columns: dict[str, list[Any]]
    """What each column's `Cell` makes of its values."""
    lines: list[int]
    """Line of each row in the file (Parquet: its number), from 1."""
    notes: tuple[str, ...] = ()
    """How many malformed lines were left out, and the first of them; empty where none was."""


def read_table(
    path: Path,
    wanted: Mapping[str, Cell],
    *,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
    remedy: str = LINE_REMEDY,
    named_by: Mapping[str, str] = MappingProxyType({}),
    check: Callable[[dict[str, Any]], None] | None = None,
) -> CheckedTable:
    """Return the columns `wanted` of `path`, whose name ends in .tsv (no quoting), .csv (RFC 4180), .jsonl or .parquet.

    Args:
        wanted: column → how its cells are read.
        header: the names of all columns, for a TSV without a header line.
        skip_malformed: leave malformed rows out, see `CheckedTable.notes`: those that cannot be read, have another
            number of columns, or a cell that is refused.
        remedy: what a user can do about one, where there is no such setting.
        named_by: column → the setting that names it, as "custom.text=…", where there is one.
        check: raises `ValueError` where the values of a row, by column, do not go together.

    Raises:
        UserError: the file is missing, damaged or empty; a column is missing; a row is malformed.
    """
    table_rows = read_rows(path, list(wanted), header)
    if ending(path) != ".jsonl":
        _check_names(path, table_rows, wanted, named_by)
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    lines, skipped, first = [], 0, ""
    for line, row in table_rows.rows:
        values = row if isinstance(row, Fault) else _read_cells(row, wanted, named_by, check)
        if not isinstance(values, Fault):
            lines.append(line)
            for name, value in values.items():
                columns[name].append(value)
        elif skip_malformed:
            skipped += 1
            first = first or f"line {line}: {values}"
        else:
            raise UserError(f"{path}, line {line}: {values}; {remedy}")
    if not lines:
        malformed = f" ({skipped:,} malformed lines; {first})" if skipped else ""
        raise UserError(f"{path}: no examples in this file{malformed}")
    note = f"{path}: {skipped:,} malformed lines left out; the first is {first}"
    return CheckedTable(path, columns, lines, (note,) if skipped else ())


def _read_cells(
    row: Mapping[str, Any],
    wanted: Mapping[str, Cell],
    named_by: Mapping[str, str],
    check: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any] | Fault:
    """Return a row's values by column, or what is wrong with it."""
    missing = [name for name in wanted if name not in row]
    if missing:
        return Fault(_no_columns(missing, list(row), named_by))
    values: dict[str, Any] = {}
    for name, cell in wanted.items():
        try:
            values[name] = cell(row[name])
        except ValueError as error:
            return Fault(f"{name} {error}")
    try:
        if check is not None:
            check(values)
    except ValueError as error:
        return Fault(error)
    return values


def _check_names(path: Path, found: TableRows, wanted: Mapping[str, Cell], named_by: Mapping[str, str]) -> None:
    """Raise UserError where a column is missing, or is there twice."""
    if not found.names:
        raise UserError(f"{path}: no examples in this file")
    missing = [name for name in wanted if name not in found.names]
    if missing:
        note = "" if ending(path) == ".parquet" else " (line 1 names them)"
        raise UserError(f"{path}: {_no_columns(missing, found.names, named_by, note)}")
    refuse_double(path, found.names, list(wanted))


def column_names(path: Path) -> Sequence[str]:
    """Return the columns of a file as `read_table` takes it; none of an empty one. Raises UserError where the file is
    missing, or damaged."""
    return read_rows(path, []).names


def _no_columns(missing: Sequence[str], names: Sequence[str], named_by: Mapping[str, str], note: str = "") -> str:
    # Where a file has no header, its names are texts.
    there = few_of([quoted(name, 40) for name in names])
    settings = [named_by[name] for name in missing if name in named_by]
    remedy = f"; {' and '.join(settings)} {'names it' if len(missing) == 1 else 'name them'}" if settings else ""
    remedy += did_you_mean(missing[0], names) if len(missing) == 1 else ""
    lacking = f"no column{'s' * (len(missing) > 1)} {few_of([quoted(name, 40) for name in missing])}"
    return f"{lacking}; there are {there or 'none'}{note}{remedy}"
