"""BoolQ: does a passage answer a question with yes? In SuperGLUE's layout.

Source: Clark et al. 2019, arXiv 1905.10044; the files of super.gluebenchmark.com, BoolQ.zip.
"""

from pathlib import Path

import numpy as np

from bertsmith.errors import FilesNotFound
from bertsmith.storage.files import files_named
from bertsmith.tables.cells import given_text
from bertsmith.tables.files import read_table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.task_spec import TaskData, TaskSpec
from bertsmith.tasks.texts.examples import Examples, check_count

COLUMNS = ("question", "passage")

BOOLQ = TaskSpec(
    "boolq",
    ("accuracy",),
    OneLabel(("false", "true")),
    columns=(COLUMNS,),
    has_published_counts=True,
    read=lambda recipe: read_boolq(Path(recipe.data), recipe.check_counts, recipe.skip_malformed),
)
SPECS = (BOOLQ,)

SPLIT_FILES = {"train": (("train.jsonl",), 9427), "dev": (("val.jsonl", "dev.jsonl"), 3270)}
"""Names, and the published numbers of examples."""


def read_boolq(data: Path, check_counts: bool = True, skip_malformed: bool = False) -> TaskData:
    """Return the task in the folder `data`, or in its folder BoolQ: a JSON object a line with question, passage, label.
    Raises UserError where a file is missing; a line is malformed; the number of examples is not the published one, and
    `check_counts` compares it."""
    train, dev = (_read(data, split, check_counts, skip_malformed) for split in ("train", "dev"))
    return TaskData(BOOLQ, train, dev)


def read_boolq_labels(gold: Path, *, skip_malformed: bool = False) -> tuple[Path, np.ndarray, tuple[str, ...]]:
    """Return a dev set's file, which may be named by its folder, its class ids [N], and notes about malformed lines.
    Raises UserError where there is none, or a line is malformed and not skipped."""
    path = _find(gold, "dev") if gold.is_dir() else gold
    wanted = {"label": BOOLQ.answers.gold_cell()} | dict.fromkeys(COLUMNS if skip_malformed else (), given_text)
    table = read_table(path, wanted, skip_malformed=skip_malformed, remedy="fix the line, or use --skip-malformed")
    return path, np.array(table.columns["label"], dtype=np.int64), table.notes


def _find(data: Path, split: str) -> Path:
    names, _ = SPLIT_FILES[split]
    paths = [path for folder in (data, data / "BoolQ", data / "boolq") for path in files_named(folder, names)]
    if not paths:
        raise FilesNotFound(f"{data}: no {' or '.join(names)} in it or in its folder BoolQ; data=… names the folder")
    return paths[0]


def _read(data: Path, split: str, check_counts: bool, skip_malformed: bool) -> Examples:
    path, (_, published) = _find(data, split), SPLIT_FILES[split]
    wanted = dict.fromkeys(COLUMNS, given_text) | {"label": BOOLQ.answers.gold_cell()}
    table = read_table(path, wanted, skip_malformed=skip_malformed)
    if check_counts:
        check_count(path, len(table.lines), [published])
    answers = np.array(table.columns["label"], dtype=np.int64)
    questions, passages = (table.columns[name] for name in COLUMNS)
    return Examples(questions, passages, answers, table.notes)
