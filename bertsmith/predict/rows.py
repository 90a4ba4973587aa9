"""The rows of `predict` and `score`: lines of text, a table, or words a line; and the answers to them, of
`predict --out` as a table.

A file's name decides. A table (.tsv, .csv, .jsonl, .parquet) is read by the columns that the model was fine-tuned with;
.conll has a word a line, and a blank line ends a sentence; any other file has a text a line. Rows are answered in
batches, in order; a blank one gets an empty line, so that answers stand beside their texts.
"""

import contextlib
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.console.shell import command
from bertsmith.console.terminal import say
from bertsmith.errors import UserError, quoted
from bertsmith.predict.pipelines import NO_ANSWER, Answer, Line, Pipeline, Row, TagWords
from bertsmith.scoring.word_lines import read_words, refuse_numbers
from bertsmith.storage.files import atomic_write, ending, make_folder, reported
from bertsmith.storage.json_files import finite
from bertsmith.tables.files import column_names, read_table
from bertsmith.tables.rows import Fault, parquet_values, read_parquet, read_rows, refuse_double
from bertsmith.tasks.custom import ENDINGS

ROW = "row"
"""The column of the rows' numbers, from 1."""

Columns = Mapping[str, Any]
"""Name → a value a row: a list, or of a Parquet file a `pyarrow.ChunkedArray`."""


_BREAKS = re.compile(r"[\t\r\n]+")
"""Characters that a TSV cannot hold; in texts that were given they are refused."""

WORDS_ENDING = ".conll"

ROWS_AT_ONCE = 1024


class AskedRows(NamedTuple):
    """Rows of one file or of the command line."""

    rows: Iterable[Row | None]
    """None for one that is blank."""
    columns: Callable[[], Columns]
    """Returns the columns that a table of answers repeats."""
    separator: str = "\t"
    """Between the parts of a printed line."""
    lines: Sequence[int] = ()
    """The line that each begins at, in a table."""
    path: Path | None = None


def asked_rows(pipeline: Pipeline, lines: Iterable[str], file: str | None) -> AskedRows:
    """Return the rows of `file`, or of `lines`, which are its own where it is no table. Raises UserError where a column
    is missing; a cell holds no text; the model reads no such file."""
    layout = ending(Path(file)) if file is not None else ""
    if layout == ".json" and isinstance(pipeline, Answer):
        answers = command("bertsmith", "submit", pipeline.model.path, "OUT.json", f"data={file}")
        raise UserError(f"{file}: in SQuAD's layout? `{answers}` answers that")
    if file is not None and layout in ENDINGS:
        return _of_table(pipeline, Path(file))
    if file is not None and layout == WORDS_ENDING:
        return _of_words(pipeline, Path(file))
    if file is not None and isinstance(pipeline, TagWords):
        lines = _without_tags(pipeline, lines, file)
    texts: list[str] = []

    def parsed() -> Iterator[Row | None]:
        for line in lines:
            texts.append(line)
            yield pipeline.parse(line) if line.strip() else None

    return AskedRows(parsed(), lambda: _columns_of_texts(pipeline, texts), "\n    " if file is None else "\t")


def _without_tags(pipeline: Pipeline, lines: Iterable[str], file: str) -> Iterator[str]:
    """Return `lines`. Raises UserError where each is a word and its tag, as in files that taggers are trained on."""
    lines = iter(lines)
    beginning = list(islice(lines, ROWS_AT_ONCE))
    cells = [line.split() for line in beginning if line.strip()]
    tags = set(pipeline.model.opened.network.labels)
    widths = set(map(len, cells))
    if len(cells) > 1 and len(widths) == 1 and max(widths) > 1 and all(row[-1] in tags for row in cells):
        raise UserError(
            f"{file}: each line ends in a tag, as of a file with a word a line; give it a name that ends in "
            f"{WORDS_ENDING} to have its sentences tagged"
        )
    return chain(beginning, lines)


def answered(pipeline: Pipeline, asked: AskedRows) -> Iterator[Line]:
    """Return a line for each row, in order. Raises UserError where `Pipeline.ask` does, with the place in the table."""
    rows, begin = iter(asked.rows), 0
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        end = begin + len(batch)
        filled = [row for row in batch if row is not None]
        try:
            lines = iter(pipeline.ask(filled) if filled else [])
        except UserError as error:
            place = f"{asked.path}, lines {asked.lines[begin]} to {asked.lines[end - 1]}: " if asked.lines else ""
            raise UserError(f"{place}{error}") from None
        for row in batch:
            yield NO_ANSWER if row is None else next(lines)
        begin = end


def read_lines(source: str) -> Iterator[str]:
    """Return the lines of a file, of standard input where `source` is "-", without their ends: line feeds, carriage
    returns or both. Raises UserError where it cannot be read, or a line is not UTF-8."""
    if source == "-" and sys.stdin is None:
        raise UserError("standard input is closed; name a file")
    with reported(Path(source)):
        opened = contextlib.nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")  # noqa: SIM115
    with opened as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise UserError(f"{source}, line {number}: not UTF-8; convert the file") from None
            text = text.removeprefix("\ufeff") if number == 1 else text
            yield from text.removesuffix("\n").removesuffix("\r").split("\r")


def lines_of(texts: list[str], file: str | None) -> Iterable[str]:
    """Return the texts of the command line, or the lines of a file; not both. "-" for either is standard input."""
    if file == "":
        raise UserError("--file: no name; give that of a file with a text a line, or - for standard input")
    if bool(texts) == (file is not None):
        raise UserError("give texts, or --file FILE with a text a line (- for standard input); one of the two")
    return read_lines(file or "-") if file or texts == ["-"] else texts


def _columns_of_texts(pipeline: Pipeline, texts: Sequence[str]) -> Columns:
    """Return lines as the columns of the training data, where they have as many parts; else as they are."""
    rows = [text.split("\t") for text in texts]
    for names in pipeline.columns:
        if all(len(row) == len(names) or not text.strip() for row, text in zip(rows, texts, strict=True)):
            cells = [row if len(row) == len(names) else [""] * len(names) for row in rows]
            return {name: [row[column] for row in cells] for column, name in enumerate(names)}
    return {"text": list(texts)}


def _of_table(pipeline: Pipeline, path: Path) -> AskedRows:
    remedy = f"to have each line read as a text (a tab parts a pair), hand it over as --file - < {path}"
    names = columns_of_texts(path, pipeline.columns, remedy)
    table = read_table(path, dict.fromkeys(names, pipeline.read_cell), remedy="fix the line")
    rows = zip(*(table.columns[name] for name in names), strict=True)
    asked = [None if pipeline.is_blank(row) else row for row in rows]
    return AskedRows(asked, lambda: given_columns(path), lines=table.lines, path=path)


def columns_of_texts(path: Path, choices: Sequence[Sequence[str]], remedy: str) -> Sequence[str]:
    """Return the names of the columns of texts, the first of `choices` that is there; an only column with another name
    than "text" is taken for it, with a note. Raises UserError where none is there, which ends in the `remedy`."""
    names = column_names(path)
    if not names:
        raise UserError(f"{path}: no rows in this file")
    for wanted in choices:
        if set(wanted) <= set(names):
            return wanted
    if ("text",) in choices and len(names) == 1:
        say(f"{path}: its only column, {quoted(names[0], 60)}, is taken for the texts", error=True)
        return names
    shown = ", ".join(repr(name if len(name) <= 40 else f"{name[:39]}…") for name in names[:10])
    listed = " or ".join(" and ".join(map(repr, columns)) for columns in choices)
    raise UserError(f"{path}: no column {listed}, which the model reads; there are {shown}\n{remedy}")


def _of_words(pipeline: Pipeline, path: Path) -> AskedRows:
    """Return a sentence a row, whose answers are lines as `grade conll2000` reads them."""
    if not isinstance(pipeline, TagWords):
        raise UserError(f"{path}: a word a line, and {pipeline.model.path} tags no words; give it a text a line (.txt)")
    pipeline.a_word_a_line = True
    read = read_words(path)
    refuse_numbers(path, read)
    return AskedRows([([word.columns[0] for word in sentence],) for sentence in read], dict, "\n")


def check_out(out: Path, asked: str | None, overwrite: bool, endings: Sequence[str] = ENDINGS) -> None:
    """Check that the file of answers can be written, before anything is answered.

    Raises:
        UserError: `out` has none of the `endings`, is a folder, is the file that is `asked` about, or is there and not
            to be overwritten; its folder cannot be written.
    """
    if ending(out) not in endings:
        what = "a table of answers" if endings is ENDINGS else "a file of vectors"
        raise UserError(f"{out}: {what} ends in {', '.join(endings)}; give --out another name")
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
