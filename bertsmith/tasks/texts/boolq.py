"""BoolQ: does a passage answer a question with yes? In SuperGLUE's layout.

Source: Clark et al. 2019, arXiv 1905.10044; the files of super.gluebenchmark.com, BoolQ.zip.
"""

from pathlib import Path

import numpy as np

from bertsmith.errors import UserError
from bertsmith.storage.files import files_named
from bertsmith.tables.cells import given_text
from bertsmith.tables.files import read_table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.task_spec import TaskFiles, TaskSpec
from bertsmith.tasks.texts.examples import Examples

BOOLQ = TaskSpec("boolq", ("accuracy",), OneLabel(("false", "true")))

COLUMNS = ("question", "passage")

FILES = {"train": ("train.jsonl",), "dev": ("val.jsonl", "dev.jsonl")}

NUM_EXAMPLES = {"train": 9427, "dev": 3270}
"""As published."""


def read_boolq(data: Path, *, check_counts: bool = True, skip_malformed: bool = False) -> TaskFiles:
    """Return the task in the folder `data`, or in its folder BoolQ: a JSON object a line with question, passage, label.

    Raises:
        UserError: a file is missing; a line is malformed; the number of examples is not the published one, and
            `check_counts` compares it.
    """
    train, dev = (_read(data, split, check_counts, skip_malformed) for split in ("train", "dev"))
    return TaskFiles(BOOLQ, train, dev)


def _read(data: Path, split: str, check_counts: bool, skip_malformed: bool) -> Examples:
    paths = [path for folder in (data, data / "BoolQ", data / "boolq") for path in files_named(folder, FILES[split])]
    if not paths:
        raise UserError(f"{data}: no {' or '.join(FILES[split])} in it or in its folder BoolQ; data=… names the folder")
    wanted = dict.fromkeys(COLUMNS, given_text) | {"label": BOOLQ.answers.gold_cell()}
    table = read_table(paths[0], wanted, skip_malformed=skip_malformed)
    answers = np.array(table.columns["label"], dtype=np.int64)
    if check_counts and len(answers) != NUM_EXAMPLES[split]:
        raise UserError(
            f"{paths[0]}: {len(answers):,} examples where {NUM_EXAMPLES[split]:,} were published; fetch the file "
            f"again, or set check_counts=false"
        )
    left_out = (table.left_out,) if table.left_out else ()
    questions, passages = (table.columns[name] for name in COLUMNS)
    return Examples(questions, passages, answers, left_out)
