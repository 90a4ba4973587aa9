"""A prediction file, scored as the official script of its task does."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.errors import UserError, quoted
from bertsmith.scoring.entities import EntityCounts, count_entities, scheme_of, tag_accuracy, total
from bertsmith.scoring.malformed import GRADE_REMEDY, Malformed
from bertsmith.scoring.questions import paired_ids, read_mrqa, read_null_odds, read_predicted_texts, read_squad
from bertsmith.scoring.text_answers import NULL_THRESHOLD, score_answerable, score_answers
from bertsmith.scoring.word_lines import read_tagging
from bertsmith.tables.cells import whole_number
from bertsmith.tables.files import read_table
from bertsmith.tasks.metrics import is_constant, measure, undefined
from bertsmith.tasks.published.boolq import BOOLQ, read_boolq_labels
from bertsmith.tasks.published.glue import GLUE, read_dev_labels
from bertsmith.tasks.task_spec import TaskSpec

GRADED_TASKS = ("squad-v1.1", "squad-v2.0", "mrqa", "conll2000", "boolq", *GLUE)


class Grade(NamedTuple):
    """The scores of a prediction file, with notes for their reader."""

    about: str
    """Name and size of the gold file."""
    scores: dict[str, Any]
    """At full precision; shares and correlations in percent."""
    table: list[str]
    notes: list[str]
    """Facts about what was missing, superfluous or not defined, a line each."""


def grade(
    task: str,
    gold: Path,
    predictions: Path | None,
    null_odds: Path | None = None,
    *,
    null_threshold: float = NULL_THRESHOLD,
    skip_malformed: bool = False,
) -> Grade:
    """Score `predictions` against `gold`.

    Args:
        task: one of `GRADED_TASKS`.
        gold: SQuAD's JSON, MRQA's JSON lines, a word-per-line file, or the dev file or folder of a GLUE task or BoolQ.
        predictions: texts by question id as JSON, tags (see `read_tagging`; None where they are in `gold`), or
            labels (see `read_predicted_labels`).
        null_odds: of SQuAD 2.0, how likely each question has no answer; above `null_threshold` it has none.
        skip_malformed: leave out, and count, what of `gold` is malformed, as fine-tuning does under that setting.

    Raises:
        UserError: there is no such task; a file is missing or not what the task needs, see the readers.
    """
    if task not in GRADED_TASKS:
        near = difflib.get_close_matches(task.lower(), GRADED_TASKS, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"{quoted(task, 60)} is no task{meant}; there are {', '.join(GRADED_TASKS)}")
    if null_odds is not None and task != "squad-v2.0":
        raise UserError(f"--null-odds {null_odds}: of use for squad-v2.0 only; leave it out for {task}")
    if task == "conll2000":
        return _grade_tags(gold, predictions, skip_malformed)
    if predictions is None:
        raise UserError(f"{task}: no file of predictions; give it after {gold}")
    if task in GLUE or task == BOOLQ.name:
        return _grade_labels(task, gold, predictions, skip_malformed)
    malformed = Malformed(remedy=GRADE_REMEDY, skip=skip_malformed)
    return _grade_texts(task, gold, predictions, null_odds, null_threshold, malformed)


def _grade_texts(
    task: str, gold_path: Path, path: Path, null_odds: Path | None, null_threshold: float, malformed: Malformed
) -> Grade:
    of_squad = partial(read_squad, answerable=task == "squad-v1.1")
    gold = (read_mrqa if task == "mrqa" else of_squad)(gold_path, malformed=malformed)
    predicted = _by_gold_ids(gold, read_predicted_texts(path))
    unanswered, unknown = _without(gold, predicted), _without(predicted, gold)
    notes = malformed.note()
    notes += _counted(unanswered, len(gold), f"questions of {gold_path} are not in {path}, and count as wrong")
    notes += _counted(unknown, len(predicted), f"ids of {path} are not in {gold_path}, and count for nothing")
    if len(unanswered) == len(gold):
        raise UserError(
            f"{path}: no id of {gold_path} is in it, for example {quoted(unanswered[0], 80)}; is it of this split?"
        )
    if task != "squad-v2.0":
        scores: dict[str, Any] = {**score_answers(gold, predicted), "total": len(gold)}
    elif null_odds is None:
        scores = dict(score_answerable(gold, predicted))
        if all(predicted.values()):
            notes.append(
                f"{path} answers every question; where a run's null_odds.json is beside it, --null-odds names that "
                f"file, and --null-threshold the run's threshold (answering.null_threshold, -2.75 where left out)"
            )
    else:
        odds = _by_gold_ids(gold, read_null_odds(null_odds))
        missing = [id for id in _without(predicted, odds) if id in gold]
        if missing:
            raise UserError(
                f"{null_odds}: no odds for {len(missing):,} predicted questions, the first is "
                f"{quoted(missing[0], 80)}; there have to be some for each"
            )
        not_in_gold = _without(odds, gold)
        notes += _counted(not_in_gold, len(odds), f"ids of {null_odds} are not in {gold_path}, and count for nothing")
        scores = dict(score_answerable(gold, predicted, odds, null_threshold))
        if null_threshold == NULL_THRESHOLD:
            notes.append(
                f"null odds above {null_threshold:g}, the official script's threshold, count as no answer; for a "
                f"run, those above its answering.null_threshold, -2.75 where left out: --null-threshold -2.75"
            )
    table = _score_table(scores)
    scores |= {"unanswered": len(unanswered), "unknown": len(unknown)}
    return Grade(f"{gold_path.name}, {len(gold):,} questions", scores, table, notes)


def _grade_tags(gold_path: Path, path: Path | None, skip_malformed: bool) -> Grade:
    if skip_malformed:
        raise UserError("--skip-malformed: of use with GLUE's tasks and questions; a file of tags is scored whole")
    if path is not None and path.exists() and gold_path.exists() and path.samefile(gold_path):
        path = None
    gold, predicted = read_tagging(gold_path, path)
    scheme = scheme_of(gold, predicted)
    lenient, strict = (count_entities(gold, predicted, strict) for strict in (None, scheme))
    num_words = sum(map(len, gold))
    scores = {
        "accuracy": tag_accuracy(gold, predicted), **_shares(lenient),
        "strict": {"scheme": scheme, **_shares(strict)},
        "words": num_words, "sentences": len(gold),
    }  # fmt: skip
    not_in_gold = [type for type, counts in lenient.items() if not counts.gold]
    notes = _counted(not_in_gold, len(lenient), f"types of entities are not in {gold_path}, and count as wrong")
    for name, what in (("gold", "recall"), ("predicted", "precision")):
        if not scores[name]:
            notes.append(f"there is no {name} entity; {what} and F1 are 0 by definition")
    rows = {"all (conlleval)": lenient, f"all (strict {scheme})": strict}
    table = [f"accuracy of the tags {scores['accuracy']:.2f}", *_entity_table(rows)]
    return Grade(f"{gold_path.name}, {len(gold):,} sentences, {num_words:,} words", scores, table, notes)


def _entity_table(readings: Mapping[str, Mapping[str, EntityCounts]]) -> list[str]:
    """Return a line for each reading of the tags, below that of the first one its types."""
    rows = [(title, total(counts.values())) for title, counts in readings.items()]
    rows[1:1] = next(iter(readings.values())).items()
    width = max(len(title) for title, _ in rows)
    lines = [" " * width + "".join(f"{title:>11}" for title in (*EntityCounts._fields, "precision", "recall", "F1"))]
    for title, counts in rows:
        shares = f"{counts.precision:>11.2f}{counts.recall:>11.2f}{counts.f1:>11.2f}"
        lines.append(f"{title:<{width}}" + "".join(f"{count:>11,}" for count in counts) + shares)
    return lines


def _shares(counts: Mapping[str, EntityCounts]) -> dict[str, Any]:
    def content(counted: EntityCounts) -> dict[str, Any]:
        return {"precision": counted.precision, "recall": counted.recall, "f1": counted.f1, **counted._asdict()}

    return content(total(counts.values())) | {"types": {type: content(counted) for type, counted in counts.items()}}


def _grade_labels(name: str, gold_path: Path, path: Path, skip_malformed: bool) -> Grade:
    spec, read = (GLUE[name].spec, partial(read_dev_labels, name)) if name in GLUE else (BOOLQ, read_boolq_labels)
    dev, gold, left_out = read(gold_path, skip_malformed=skip_malformed)
    predicted = read_predicted_labels(path, spec, dev, len(gold))
    notes = [f"{line}; no index counts them" for line in left_out]
    for values, what in ((predicted, "predictions"), (gold, "labels")):
        if is_constant(values):
            notes.append(f"all {what} are {spec.answers.named(values[0])}")
    zeros = undefined(spec.metrics, predicted, gold)
    if zeros:
        notes.append(f"{' and '.join(zeros)} 0 by definition: not defined for these predictions and labels")
    measured = measure(spec.metrics, predicted, gold, len(spec.labels))
    scores = {name: 100.0 * value for name, value in measured.items()} | {"total": len(predicted)}
    return Grade(f"{dev.name}, {len(predicted):,} examples", scores, _score_table(scores), notes)


def read_predicted_labels(path: Path, spec: TaskSpec, gold: Path, num_examples: int) -> np.ndarray:
    """Return [N]: int64 class ids, or float64 numbers, in the order of the dev file's examples.

    Args:
        gold: the dev file, for messages.
        num_examples: how many it has.
        path: a TSV file with the columns `index`, which counts the examples from 0 in any order, and `prediction`,
            which is the label's word or the number; others, such as a trial's `label`, are passed over. The endings
            .csv, .jsonl and .parquet are read as such.

    Raises:
        UserError: the file or a column is missing; a line is malformed; a prediction is not the task's; an index is no
            whole number, is there twice, or is none of the dev file's; examples are without a prediction.
    """
    wanted = {"index": whole_number, "prediction": spec.answers.predicted_cell()}
    table = read_table(path, wanted, remedy="fix the line")
    answers: np.ndarray = np.array(table.columns["prediction"], dtype=spec.answers.dtype)
    if len(answers) > num_examples:
        raise UserError(
            f"{path}: {len(answers):,} predictions for the {num_examples:,} examples of {gold}; are they for "
            f"another split?"
        )
    lines: dict[int, int] = {}
    for index, line in zip(table.columns["index"], table.lines, strict=True):
        if not 0 <= index < num_examples:
            raise UserError(
                f"{path}, line {line}: index is '{index}'; it counts the examples of {gold}, 0 to {num_examples - 1}"
            )
        if index in lines:
            raise UserError(f"{path}, line {line}: index {index} is in line {lines[index]} too; leave one of them")
        lines[index] = line
    if len(lines) < num_examples:
        first = next(index for index in range(num_examples) if index not in lines)
        raise UserError(
            f"{path}: {num_examples - len(lines):,} of {num_examples:,} examples have no prediction, the first is "
            f"index {first}; every example of {gold} needs one"
        )
    ordered = np.empty_like(answers)
    ordered[list(lines)] = answers
    return ordered


def _score_table(scores: Mapping[str, float]) -> list[str]:
    return [f"{name:<20}{value:>12{',' if isinstance(value, int) else '.5f'}}" for name, value in scores.items()]


def _without(ids: Iterable[str], others: Mapping[str, Any]) -> list[str]:
    return [id for id in ids if id not in others]


def _by_gold_ids(gold: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` by the ids of `gold`, where a whole number may be written "10" or "10.0"."""
    renamed = {old: new for old, new in paired_ids(gold, given).items() if new not in given}
    return {renamed.get(id, id): value for id, value in given.items()}


def _counted(ids: Sequence[str], total: int, what: str) -> list[str]:
    """Return a note with the first of them, if there are any."""
    return [f"{len(ids):,} of {total:,} {what}; the first is {quoted(ids[0], 80)}"] if ids else []
