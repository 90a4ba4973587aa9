"""What `predict` and `score` print, a line a row (a blank row's is empty, in JSON null), or write as a table."""

from collections.abc import Iterable
from pathlib import Path

from bertsmith.console.terminal import say, say_json, tell
from bertsmith.evals.likelihood import MEASURES
from bertsmith.predict.answer_tables import check_cells, check_out, write_table
from bertsmith.predict.pipelines import Line, Score, pipeline_of
from bertsmith.predict.predictor import Predictor
from bertsmith.predict.rows import AskedRows, answered, asked_rows, read_lines
from bertsmith.storage.folders import no_empty_folder


@no_empty_folder("out")
def print_predictions(
    model: Predictor,
    lines: Iterable[str],
    file: str | None,
    max_guesses: int,
    truncate: bool,
    as_json: bool,
    *,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Print an answer for each of `lines`, which are those of `file` if there is one, or for each row that it has; or
    write them with all that is known of the row to the table `out`.

    Raises:
        UserError: the model cannot answer; a column is missing; a text is not one; the text of a model that was not
            fine-tuned is too long; `out` cannot be written.
    """
    pipeline = pipeline_of(model, max_guesses, truncate)
    if out is not None:
        check_out(out, file, overwrite)
    asked = asked_rows(pipeline, lines, file)
    num_rows = 0
    if out is None:
        for line in answered(pipeline, asked):
            say_line(line, as_json, asked.separator)
            num_rows += 1
    else:
        asked = asked._replace(rows=list(asked.rows))
        columns = asked.columns()
        check_cells(out, columns)
        answers = list(answered(pipeline, asked))
        write_table(out, columns, answers)
        num_rows = len(answers)
        tell(f"wrote {out}: {num_rows:,} rows")
    for note in pipeline.notes(num_rows):
        say(note, error=True)


def print_scores(model: Predictor, file: str, per_token: bool, truncate: bool, as_json: bool) -> None:
    """Print a line for each line of `file`, and for people what the scores are the sums of."""
    if not as_json:
        say(f"score: {MEASURES[model.score_measure]}", error=True)
    pipeline = Score(model, truncate, per_token=per_token)
    rows = AskedRows((pipeline.parse(line) if line.strip() else None for line in read_lines(file)), dict)
    for line in answered(pipeline, rows):
        say_line(line, as_json, "\t")


def say_line(line: Line, as_json: bool, separator: str) -> None:
    """Print one answer."""
    if as_json:
        say_json(line.content)
    else:
        say(separator.join(line.parts))
