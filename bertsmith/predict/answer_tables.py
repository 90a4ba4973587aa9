"""The table of `predict --out`: the rows that were asked about, with the answers."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.predict.pipelines import Line
from bertsmith.storage.files import atomic_write, ending, make_folder
from bertsmith.storage.json_files import finite
from bertsmith.tables.rows import Fault, parquet_values, read_parquet, read_rows, refuse_double
from bertsmith.tasks.custom import ENDINGS

ROW = "row"
"""The column of the rows' numbers, from 1."""

Columns = Mapping[str, Any]
"""Name → a value a row: a list, or of a Parquet file a `pyarrow.ChunkedArray`."""


_BREAKS = re.compile(r"[\t\r\n]+")
"""Characters that a TSV cannot hold; in texts that were given they are refused."""


def check_out(out: Path, asked: str | None, overwrite: bool) -> None:
    """Check that the table can be written, before anything is answered.

    Raises:
        UserError: `out` is of no layout of a table, is a folder, is the file that is `asked` about, or is there and not
            to be overwritten; its folder cannot be written.
    """
    if ending(out) not in ENDINGS:
        raise UserError(f"{out}: a table of answers ends in {', '.join(ENDINGS)}; give --out another name")
    if out.is_dir():
        raise UserError(f"{out}: a folder; name a file to write")
    if asked not in (None, "-") and out.exists() and Path(asked).exists() and out.samefile(asked):
        raise UserError(f"{out}: the file that is asked about; give --out another name")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: is there already; give --out another name, or replace it with --overwrite")
    make_folder(out.resolve().parent)


def given_columns(path: Path) -> Columns:
    """Return all columns of a table as it has them; of JSONL those of any row. Raises UserError where a row is
    malformed, or two columns have one name."""
    if ending(path) == ".parquet":
        table = read_parquet(path)
        refuse_double(path, table.column_names, table.column_names)
        return {name: table.column(name) for name in table.column_names}
    table_rows = read_rows(path)
    refuse_double(path, table_rows.names, list(dict.fromkeys(table_rows.names)))
    rows = []
    for line, row in table_rows.rows:
        if isinstance(row, Fault):
            raise UserError(f"{path}, line {line}: {row}; fix the line")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def check_cells(out: Path, given: Columns) -> None:
    """Raises UserError where a TSV cannot hold the given values."""
    if ending(out) != ".tsv":
        return
    for name, values in given.items():
        for number, text in enumerate(map(_cell, [name, *_listed(values)])):
            if any(char in text for char in "\t\r\n"):
                where = f"{name} of row {number}" if number else "a column's name"
                raise UserError(
                    f"{out}: {where} has a tab or a line end, which a TSV cannot hold; name a .csv, .jsonl or .parquet"
                )


def write_table(out: Path, given: Columns, lines: Sequence[Line]) -> None:
    """Write the rows' numbers, the columns that were given, and those of the answers. Where a name
    is taken, the new column's gets a number."""
    columns: dict[str, Any] = {_free(ROW, given): list(range(1, len(lines) + 1)), **given}
    answers = dict.fromkeys(name for line in lines for name in line.columns) or {"prediction": None}
    for name in answers:
        columns[_free(name, columns)] = [line.columns.get(name) for line in lines]
    if ending(out) == ".parquet":
        _write_parquet(out, columns)
        return
    listed = {name: _listed(values) for name, values in columns.items()}
    rows = zip(*listed.values(), strict=True)
    if ending(out) == ".jsonl":
        with atomic_write(out, "w") as file:
            for row in rows:
                file.write(_json(dict(zip(listed, row, strict=True))) + "\n")
        return
    # Line ends inside a cell need quotes, which some versions of the csv module forget for a carriage return alone.
    with atomic_write(out, "w") as file:
        if ending(out) == ".csv":
            quoted = any("\r" in _cell(value) for values in listed.values() for value in values)
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
            writer.writerow(listed)
            writer.writerows([_cell(value) for value in row] for row in rows)
        else:
            file.write("\t".join(listed) + "\n")
            file.writelines("\t".join(_BREAKS.sub(" ", _cell(value)) for value in row) + "\n" for row in rows)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else parquet_values(values)


def _cell(value: Any) -> str:
    """Return a value as the text of a cell: a list as JSON, nothing where there is none."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool | dict | list):
        return _json(value)
    return _text(value) if isinstance(value, bytes) else str(value)


def _json(value: Any) -> str:
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, default=_text)


def _text(value: Any) -> str:
    """Return a value that JSON has no type for, as bytes or a date, as text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _write_parquet(out: Path, columns: Columns) -> None:
    import pyarrow
    import pyarrow.parquet

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pyarrow.array(values) if isinstance(values, list) else values
        except (pyarrow.ArrowException, OverflowError):  # of several types, as JSON may have them
            arrays[name] = pyarrow.array([None if value is None else _cell(value) for value in values])
    with atomic_write(out) as file:
        pyarrow.parquet.write_table(pyarrow.table(arrays), file, write_page_checksum=True)
