"""What `predict` prints: of texts and of lines, of the rows of a table, and of words, a line each.

A file's name says what it is. A table (.tsv, .csv, .jsonl, .parquet) is read by the columns that the model was
fine-tuned with; .conll has a word a line, and a blank line ends a sentence; all else is a text a line.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bertsmith.answers import LINES_AT_ONCE, Line, answer_line, class_line, predictions, print_answers, say_line
from bertsmith.errors import UserError
from bertsmith.predictor import Predictor
from bertsmith.tasks.cells import text, words
from bertsmith.tasks.custom import ENDINGS
from bertsmith.tasks.scoring.word_lines import read_words, refuse_numbers
from bertsmith.tasks.table_files import column_names, read_table
from bertsmith.terminal import say

WORDS_ENDING = ".conll"


def print_predictions(
    model: Predictor, lines: Iterable[str], file: str | None, most: int, truncate: bool, as_json: bool
) -> None:
    """An answer for each of `lines`, which are those of `file` if there is one, or for each row that it has.

    Raises:
        UserError: the model cannot answer; a column is missing; a text is not one, or is too long.
    """
    ending = Path(file).suffix.lower() if file is not None else ""
    if ending == ".json" and model.answers_questions:
        raise UserError(f"{file}: in SQuAD's layout? `bertsmith submit {model.path} OUT.json data={file}` answers that")
    if ending in ENDINGS:
        _print(_of_table(model, Path(file), most, truncate), as_json, "\t")
    elif ending == WORDS_ENDING:
        _print(_of_words(model, Path(file), truncate), as_json, "\n")
    else:
        between = "\n    " if file is None else "\t"
        print_answers(lines, lambda some: predictions(model, some, most, truncate), as_json, between)


def _print(lines: Iterable[Line], as_json: bool, between: str) -> None:
    for line in lines:
        say_line(line, as_json, between)


def _of_table(model: Predictor, path: Path, most: int, truncate: bool) -> Iterator[Line]:
    """Rows are read at once and answered some at a time; one without any text is answered by an empty line."""
    wanted = _columns(model, path)
    table = read_table(path, dict.fromkeys(wanted, words if model.tags_words else text), remedy="fix the line")
    texts = [table.columns[column] for column in wanted]
    if model.tags_words:
        texts = [[" ".join(found) for found in column] for column in texts]
    for begin in range(0, len(table.lines), LINES_AT_ONCE):
        some = [column[begin : begin + LINES_AT_ONCE] for column in texts]
        rows = [row for row in zip(*some, strict=True) if any(text.strip() for text in row)]
        try:
            answers = iter(_answers(model, rows, most, truncate) if rows else [])
        except UserError as error:
            last = table.lines[min(begin + LINES_AT_ONCE, len(table.lines)) - 1]
            raise UserError(f"{path}, lines {table.lines[begin]} to {last}: {error}") from None
        for row in zip(*some, strict=True):
            yield next(answers) if any(text.strip() for text in row) else Line([], None)


def _answers(model: Predictor, rows: Sequence[Sequence[str]], most: int, truncate: bool) -> list[Line]:
    first, *second = map(list, zip(*rows, strict=True))
    if model.classifies:  # and not by way of lines, since a text may have a tab inside
        return [class_line(answer) for answer in model.classify(first, second[0] if second else None, truncate)]
    if model.answers_questions:
        return [answer_line(answer) for answer in model.answer(first, second[0], truncate)]
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
        say(f"{path}: its only column, {names[0]!r}, is taken for the texts", error=True)
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
        for tagged in model.tag_words(sentences[begin : begin + LINES_AT_ONCE], truncate):
            content: dict[str, Any] = {"words": [word for word, _ in tagged], "tags": [tag for _, tag in tagged]}
            yield Line([*(f"{word} {tag}" for word, tag in tagged), ""], content)
