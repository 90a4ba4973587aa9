"""What `predict` prints: of texts and of lines, of the rows of a table, and of words, a line each; or writes.

A file's name says what it is. A table (.tsv, .csv, .jsonl, .parquet) is read by the columns that the model was
fine-tuned with; .conll has a word a line, and a blank line ends a sentence; all else is a text a line. A fine-tuned
model cuts texts as training cut them, and says how many.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bertsmith.console.shell import command
from bertsmith.console.terminal import say, tell
from bertsmith.errors import UserError, quoted
from bertsmith.predict.answer_tables import Columns, check_cells, check_out, given_columns, write_table
from bertsmith.predict.answers import (
    LINES_AT_ONCE,
    NO_ANSWER,
    Line,
    answer_line,
    answered,
    class_line,
    predictions,
    say_line,
    tag_line,
)
from bertsmith.predict.predictor import Predictor
from bertsmith.storage.files import ending
from bertsmith.storage.folders import no_empty_folder
from bertsmith.tasks.cells import is_missing, text, words
from bertsmith.tasks.custom import ENDINGS
from bertsmith.tasks.scoring.word_lines import read_words, refuse_numbers
from bertsmith.tasks.table_files import column_names, read_table

WORDS_ENDING = ".conll"


@no_empty_folder("out")
def print_predictions(
    model: Predictor,
    lines: Iterable[str],
    file: str | None,
    most: int,
    truncate: bool,
    as_json: bool,
    *,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """An answer for each of `lines`, which are those of `file` if there is one, or for each row that it has; printed,
    or with all that is known of the row in the table `out`.

    Raises:
        UserError: the model cannot answer; a column is missing; a text is not one; the text of a model that was not
            fine-tuned is too long; `out` cannot be written.
    """
    layout = ending(Path(file)) if file is not None else ""
    if layout == ".json" and model.answers_questions:
        answers = command("bertsmith", "submit", model.path, "OUT.json", f"data={file}")
        raise UserError(f"{file}: in SQuAD's layout? `{answers}` answers that")
    if out is not None:
        check_out(out, file, overwrite)
    truncate, between = truncate or model.was_finetuned, "\t"
    given: Columns | None = None
    if layout in ENDINGS:
        found = _of_table(model, Path(file), most, truncate)
        given = given_columns(Path(file)) if out is not None else None
    elif layout == WORDS_ENDING:
        found, between = _of_words(model, Path(file), truncate), "\n"
        given = {}
    else:
        between = "\n    " if file is None else "\t"
        pairs = answered(lines, lambda some: predictions(model, some, most, truncate))
        if out is None:
            found = (line for _, line in pairs)
        else:
            texts, found = map(list, zip(*pairs, strict=True)) if (pairs := list(pairs)) else ([], [])
            given = _columns_of_texts(model, texts)
    num_rows = 0
    if out is None:
        for line in found:
            say_line(line, as_json, between)
            num_rows += 1
    else:
        check_cells(out, given)
        found = list(found)
        write_table(out, given, found)
        num_rows = len(found)
        tell(f"wrote {out}: {num_rows:,} rows")
    if model.num_cut:
        as_trained = ", as in training" if model.was_finetuned else ""
        lost = "; the words after that are not read" if model.tags_words else ""
        say(f"{model.num_cut:,} of {num_rows:,} rows were cut to {model.length} tokens{as_trained}{lost}", error=True)


def _columns_of_texts(model: Predictor, texts: Sequence[str]) -> Columns:
    """Lines as the columns that the model learnt from, where they have as many parts; else as they are."""
    parts = [text.split("\t") for text in texts]
    for names in model.text_columns:
        if all(len(some) == len(names) or not text.strip() for some, text in zip(parts, texts, strict=True)):
            filled = [some if len(some) == len(names) else [""] * len(names) for some in parts]
            return {name: [some[place] for some in filled] for place, name in enumerate(names)}
    return {"text": list(texts)}


def _of_table(model: Predictor, path: Path, most: int, truncate: bool) -> Iterator[Line]:
    """Rows are read at once and answered some at a time; one without any text, or without a question, is answered by an
    empty line."""
    wanted = _columns(model, path)
    table = read_table(path, dict.fromkeys(wanted, _words_if_any if model.tags_words else text), remedy="fix the line")
    rows = list(zip(*(table.columns[column] for column in wanted), strict=True))
    for begin in range(0, len(rows), LINES_AT_ONCE):
        some = rows[begin : begin + LINES_AT_ONCE]
        asked = [row for row in some if _asks(model, row)]
        try:
            answers = iter(_answers(model, asked, most, truncate) if asked else [])
        except UserError as error:
            last = table.lines[min(begin + LINES_AT_ONCE, len(table.lines)) - 1]
            raise UserError(f"{path}, lines {table.lines[begin]} to {last}: {error}") from None
        for row in some:
            yield next(answers) if _asks(model, row) else NO_ANSWER


def _words_if_any(value: Any) -> list[str]:
    return [] if is_missing(value) else words(value)


def _asks(model: Predictor, row: Sequence[Any]) -> bool:
    if model.tags_words:
        return bool(row[0])
    return bool(row[0].strip()) if model.answers_questions else any(part.strip() for part in row)


def _answers(model: Predictor, rows: Sequence[Sequence[Any]], most: int, truncate: bool) -> list[Line]:
    first, *second = map(list, zip(*rows, strict=True))
    if model.classifies:  # and not by way of lines, since a text may have a tab inside
        return [class_line(answer) for answer in model.classify(first, second[0] if second else None, truncate)]
    if model.answers_questions:
        return [answer_line(answer) for answer in model.answer(first, second[0], truncate)]
    if model.tags_words:
        return [tag_line(tagged) for tagged in model.tag_with_probs(first, truncate)]
    return predictions(model, first, most, truncate)


def _columns(model: Predictor, path: Path) -> Sequence[str]:
    """Those that hold the texts; a lone column that is no "text" is taken for it, and said."""
    names = column_names(path)
    if not names:
        raise UserError(f"{path}: no rows in this file")
    choices = model.text_columns
    for wanted in choices:
        if set(wanted) <= set(names):
            return wanted
    if ("text",) in choices and len(names) == 1:
        say(f"{path}: its only column, {quoted(names[0], 60)}, is taken for the texts", error=True)
        return names
    shown = ", ".join(repr(name if len(name) <= 40 else f"{name[:39]}…") for name in names[:10])
    wanted = " or ".join(" and ".join(map(repr, columns)) for columns in choices)
    raise UserError(
        f"{path}: no column {wanted}, which the model reads; there are {shown}. "
        f"To have each line read as a text (a tab parts a pair), hand it over as --file - < {path}"
    )


def _of_words(model: Predictor, path: Path, truncate: bool) -> Iterator[Line]:
    """A sentence's words, each with its tag: lines as `grade conll2000` reads them."""
    if not model.tags_words:
        raise UserError(f"{path}: a word a line, and {model.path} tags no words; give it a text a line (.txt)")
    read = read_words(path)
    refuse_numbers(path, read)
    sentences = [[word.columns[0] for word in sentence] for sentence in read]
    for begin in range(0, len(sentences), LINES_AT_ONCE):
        for tagged in model.tag_with_probs(sentences[begin : begin + LINES_AT_ONCE], truncate):
            yield tag_line(tagged, a_word_a_line=True)
