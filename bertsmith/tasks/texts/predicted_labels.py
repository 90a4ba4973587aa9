"""Predicted classes and numbers of the GLUE tasks, in the layout of the server's submissions."""

from pathlib import Path

import numpy as np

from bertsmith.errors import UserError
from bertsmith.tables.cells import whole_number
from bertsmith.tables.files import read_table
from bertsmith.tasks.task_spec import TaskSpec


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
