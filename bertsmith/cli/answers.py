"""The results of `predict` and `score`, a line a row (of a blank row empty, in JSON null) or a table; of `evaluate`."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from bertsmith.console.terminal import aligned, say, say_json, tell
from bertsmith.evals.blimp import Accuracy
from bertsmith.evals.likelihood import MEASURES
from bertsmith.predict.answer_tables import check_cells, check_out, write_table
from bertsmith.predict.evaluate import Evaluation
from bertsmith.predict.pipelines import Line, Score, pipeline_of
from bertsmith.predict.predictor import Predictor
from bertsmith.predict.rows import AskedRows, answered, asked_rows, read_lines
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import write_json


@no_empty_folder
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
    """Print an answer for each of `lines` (those of `file`, if there is one) or each row of the table `file`; or write
    the rows with their answers to the table `out`. Raises UserError where a row cannot be read or answered, or `out`
    cannot be written."""
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


def show_evaluation(evaluation: Evaluation, as_json: bool, paradigms: bool, out: Path | None) -> None:
    """Print it as tables or as JSON, and write it to the file `out` too if there is one."""
    if out is not None:
        write_json(out, evaluation.to_json())
    if as_json:
        say_json(evaluation.to_json())
        return
    _print_tables(evaluation, paradigms)
    if out is not None:
        tell(f"wrote {out}")


def _print_tables(evaluation: Evaluation, paradigms: bool) -> None:
    """Print the held-out measures, then the tables of BLiMP and GLUE; BLiMP's with each paradigm if wanted."""
    for name, value in (evaluation.heldout or {}).items():
        say(f"{name.replace('_', ' '):<24}{'–' if math.isnan(value) else f'{value:.4f}':>10}")
    if evaluation.how is not None:
        say(evaluation.how.measuring.describe(evaluation.how.rows))
    if (blimp := evaluation.blimp) is not None:
        rows = [("BLiMP", "accuracy", "± error", "pairs")]
        rows += [_row(name.replace("_", " "), accuracy) for name, accuracy in blimp.phenomena.items()]
        if paradigms:
            rows += [("",) * 4, *(_row(name, accuracy) for name, accuracy in blimp.paradigms.items()), ("",) * 4]
        _print_table([*rows, _row("overall", blimp.overall)], "half of them would be right by chance")
    if (glue := evaluation.glue) is not None:
        rows = [("GLUE, quick", "metric", "score", "± error")]
        rows += [(task, each.metric, f"{each.mean:.4f}", f"{each.standard_error:.4f}") for task, each in glue.items()]
        _print_table(rows, "fine-tuned on at most 5,000 examples, three seeds a task; the error is that of their mean")


def _print_table(rows: Sequence[Sequence[str]], note: str) -> None:
    for line in aligned(rows):
        say(line)
    say(note)


def _row(name: str, accuracy: Accuracy) -> tuple[str, str, str, str]:
    return name, f"{accuracy.accuracy:.3f}", f"{accuracy.standard_error:.3f}", f"{accuracy.pairs:,}"
