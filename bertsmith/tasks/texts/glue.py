"""The GLUE tasks, one row a task, in the original TSV layout or as the Hugging Face hub's Parquet files.

Sources: the TSV files of gluebenchmark.com; the layout and the class ids of the hub's nyu-mll/glue; labels in the order
of google-research/electra, finetune/classification/classification_tasks.py.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bertsmith.errors import UserError
from bertsmith.storage.files import ending, files_named, reported
from bertsmith.tables.cells import Cell, given_text
from bertsmith.tables.files import LINE_REMEDY, column_names, read_table
from bertsmith.tables.table import Table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.task_spec import TaskFiles, TaskSpec
from bertsmith.tasks.texts.examples import Examples

SplitName = Literal["train", "dev", "test"]


class GlueTask(NamedTuple):
    """One row: the task, and how its files look."""

    task: TaskSpec
    folders: tuple[str, ...]
    """Names that its folder goes by: GLUE's, the reference's, the hub's."""
    texts: tuple[str, ...]
    """Column or columns of the TSV."""
    label: str
    """Column of the TSV."""
    rows: dict[SplitName, tuple[int, ...]]
    """The published numbers of examples; two where two editions are about."""
    hub_texts: tuple[str, ...]
    hub_labels: tuple[str, ...] = ()
    """In the order of the hub's class ids."""
    header: tuple[str, ...] | None = None
    """Of train and dev, where their TSV has no header line (test has one)."""
    edition: str = ""
    """What follows dev, validation and test in the names of its files."""
    only_edition: bool = False
    """Whether a file without it is of another edition."""
    test_names: tuple[str, ...] = ("test",)


NOT, YES = "not_entailment", "entailment"
PAIR = ("sentence1", "sentence2")

GLUE: dict[str, GlueTask] = {
    "cola": GlueTask(
        TaskSpec("cola", ("mcc",), OneLabel(("0", "1"))),
        ("CoLA", "cola"), ("sentence",), "label", {"train": (8551,), "dev": (1043,), "test": (1063,)},
        ("sentence",), ("0", "1"), header=("source", "label", "original_label", "sentence"),
    ),
    "sst-2": GlueTask(
        TaskSpec("sst-2", ("accuracy",), OneLabel(("0", "1"))),
        ("SST-2", "sst", "sst2"), ("sentence",), "label", {"train": (67349,), "dev": (872,), "test": (1821,)},
        ("sentence",), ("0", "1"),
    ),
    "mrpc": GlueTask(
        TaskSpec("mrpc", ("accuracy", "f1"), OneLabel(("0", "1")), symmetric=True),
        ("MRPC", "mrpc"), ("#1 String", "#2 String"), "Quality", {"train": (3668,), "dev": (408,), "test": (1725,)},
        PAIR, ("0", "1"),
    ),
    "sts-b": GlueTask(
        TaskSpec("sts-b", ("spearman", "pearson"), Number(high=5.0), symmetric=True),
        ("STS-B", "sts", "stsb"), PAIR, "score", {"train": (5749,), "dev": (1500,), "test": (1379,)},
        PAIR,
    ),
    "qqp": GlueTask(
        TaskSpec("qqp", ("accuracy", "f1"), OneLabel(("0", "1"))),
        ("QQP", "qqp"), ("question1", "question2"), "is_duplicate",
        {"train": (363846, 363849), "dev": (40430,), "test": (390965,)},
        ("question1", "question2"), ("0", "1"),
    ),
    "mnli": GlueTask(
        TaskSpec("mnli", ("accuracy",), OneLabel(("contradiction", "entailment", "neutral"))),
        ("MNLI", "mnli"), PAIR, "gold_label", {"train": (392702,), "dev": (9815,), "test": (9796,)},
        ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), edition="_matched",
    ),
    "qnli": GlueTask(
        TaskSpec("qnli", ("accuracy",), OneLabel((YES, NOT))),
        ("QNLI", "qnli"), ("question", "sentence"), "label", {"train": (104743,), "dev": (5463,), "test": (5463,)},
        ("question", "sentence"), (YES, NOT),
    ),
    "rte": GlueTask(
        TaskSpec("rte", ("accuracy",), OneLabel((YES, NOT))),
        ("RTE", "rte"), PAIR, "label", {"train": (2490,), "dev": (277,), "test": (3000,)},
        PAIR, (YES, NOT),
    ),
    "wnli": GlueTask(
        TaskSpec("wnli", ("accuracy",), OneLabel(("0", "1"))),
        ("WNLI", "wnli"), PAIR, "label", {"train": (635,), "dev": (71,), "test": (146,)},
        PAIR, ("0", "1"),
    ),
}  # fmt: skip

MNLI_MISMATCHED, DIAGNOSTIC = "mnli-mismatched", "ax"

SETS = GLUE | {
    MNLI_MISMATCHED: GLUE["mnli"]._replace(
        edition="_mismatched", only_edition=True, rows={"dev": (9832,), "test": (9847,)}
    ),
    DIAGNOSTIC: GLUE["mnli"]._replace(
        folders=("diagnostic", "AX", "ax"), edition="", rows={"test": (1104,)}, test_names=("diagnostic", "test")
    ),
}
"""The tasks, and the sets that a model of MNLI is asked about besides MNLI's own: only dev and test, only test."""


def read_glue(name: str, data: Path, *, check_counts: bool = True, skip_malformed: bool = False) -> TaskFiles:
    """Return the task `name` out of the GLUE folder `data`; of MNLI with the mismatched dev set where it is there. See
    `read_split`."""
    options = {"check_counts": check_counts, "skip_malformed": skip_malformed}
    train, dev = (read_split(name, data, split, **options) for split in ("train", "dev"))
    others = {}
    if name == "mnli" and why_absent(MNLI_MISMATCHED, data, "dev") is None:
        others[SETS[MNLI_MISMATCHED].edition] = read_split(MNLI_MISMATCHED, data, "dev", **options)
    return TaskFiles(GLUE[name].task, train, dev, others)


def why_absent(name: str, data: Path, *splits: SplitName) -> str | None:
    """Return what is not in the folder `data` of these splits of a key of `SETS`; None where all files are there.

    Raises:
        UserError: a file is there in part only.
    """
    reasons = (_located(SETS[name], data, split)[1] for split in splits)
    return next((why.partition(";")[0] for why in reasons if why), None)


def read_split(
    name: str, data: Path, split: SplitName, *, check_counts: bool = True, skip_malformed: bool = False
) -> Examples:
    """Return one split; of `test` no labels are read.

    Args:
        name: a key of `SETS`.
        data: the folder that holds one folder a task.
        check_counts: compare the number of examples with the published one.
        skip_malformed: leave malformed lines out and count them.

    Raises:
        UserError: the folder, the file or a column is missing; a line is malformed; a label is not the task's; the
            number of examples is not the published one.
    """
    row = SETS[name]
    paths, why_not = _located(row, data, split)
    if why_not:
        raise UserError(why_not)
    texts, label = row.texts, row.label
    header = row.header if split != "test" else None
    if ending(paths[0]) == ".parquet":
        texts, label, header = row.hub_texts, "label", None
    wanted: dict[str, Cell] = dict.fromkeys(texts, given_text)
    if split != "test":
        wanted[label] = _target(row, paths[0])
    remedy = "fix the line" if split == "test" else LINE_REMEDY  # a line less, and all indices after it are wrong
    tables = [read_table(path, wanted, header=header, skip_malformed=skip_malformed, remedy=remedy) for path in paths]
    columns = [[text for table in tables for text in table.columns[column]] for column in texts]
    targets = None if split == "test" else _targets(row, tables, label)
    if check_counts and len(columns[0]) not in row.rows[split]:
        raise UserError(
            f"{paths[0]}: {len(columns[0]):,} examples where {' or '.join(f'{n:,}' for n in row.rows[split])} were "
            f"published; fetch the file again, or set check_counts=false"
        )
    return Examples(columns[0], columns[1] if len(columns) > 1 else None, targets, _left_out(tables))


def read_dev_labels(name: str, gold: Path, *, skip_malformed: bool = False) -> tuple[Path, np.ndarray, tuple[str, ...]]:
    """Return the file of a dev set, or the first of several, its labels [N] (class ids or numbers), and of each file
    with malformed lines, which no index counts, what `Table.left_out` says.

    Args:
        name: a key of `GLUE`.
        gold: a dev file in either layout, the task's folder, or the folder of all tasks; of MNLI a folder stands for
            its matched edition.
        skip_malformed: leave out lines without a label of the task, or without a text where the file has the texts, as
            `read_split` does; otherwise those alone that cannot be read.

    Raises:
        UserError: there is no such file or folder, no dev file in it, or no column of labels; a label is not the
            task's.
    """
    row = GLUE[name]
    paths, why_not = _split_files(row, _inner_folder(row, gold) or gold, "dev") if gold.is_dir() else ([gold], "")
    if why_not:
        raise UserError(why_not)
    texts, label, header = row.texts, row.label, row.header
    if ending(paths[0]) == ".parquet":
        texts, label, header = row.hub_texts, "label", None
    target = _target(row, paths[0])
    if skip_malformed:
        there = column_names(paths[0]) if header is None else header
        wanted = {label: target} | {name: given_text for name in texts if name in there}
        tables = [read_table(path, wanted, header=header, skip_malformed=True) for path in paths]
        return paths[0], _targets(row, tables, label), _left_out(tables)
    # A label that is none is an error: without its row, all indices after it would be of other rows.
    tables = [read_table(path, {label: lambda value: value}, header=header, skip_malformed=True) for path in paths]
    for table in tables:
        for place, line in enumerate(table.lines):
            try:
                table.columns[label][place] = target(table.columns[label][place])
            except ValueError as error:
                raise UserError(
                    f"{table.path}, line {line}: {label} {error}; fix it, or where no index of the predictions counts "
                    f"such lines (a run's with skip_malformed=true) leave them out with --skip-malformed"
                ) from None
    return paths[0], _targets(row, tables, label), _left_out(tables)


def _left_out(tables: Sequence[Table]) -> tuple[str, ...]:
    return tuple(table.left_out for table in tables if table.left_out)


def _target(row: GlueTask, path: Path) -> Cell:
    """Return the kind of the cells with the task's answers: a class id, or a number."""
    return row.task.answers.gold_cell(row.hub_labels if ending(path) == ".parquet" else ())


def _targets(row: GlueTask, tables: Sequence[Table], label: str) -> np.ndarray:
    """Return [R]: int64 class ids, or float64 numbers."""
    answers = [answer for table in tables for answer in table.columns[label]]
    return np.array(answers, dtype=row.task.answers.dtype)


def _located(row: GlueTask, data: Path, split: SplitName) -> tuple[Sequence[Path], str]:
    """Return the split's files in the folder of all tasks; where there are none, why not."""
    if not data.is_dir():
        return [], f"{data}: no such folder; data=… names the folder of all GLUE tasks"
    if folder := _inner_folder(row, data):
        return _split_files(row, folder, split)
    return [], f"{data}: no folder {' or '.join(row.folders)} in it; data=… names the folder of all GLUE tasks"


def _inner_folder(row: GlueTask, data: Path) -> Path | None:
    """Return the task's folder in that of all tasks, whose name may be in any case; None where there is none."""
    with reported(data):
        there = sorted(path for path in data.iterdir() if path.is_dir())
    for name in row.folders:
        if found := [path for path in there if path.name == name] or [
            path for path in there if path.name.lower() == name.lower()
        ]:
            return found[0]
    return None


def _split_files(row: GlueTask, folder: Path, split: SplitName) -> tuple[Sequence[Path], str]:
    """Return the split's files, all of one layout; where there are none, why not."""
    edition = "" if split == "train" else row.edition
    names = {"train": ("train",), "dev": ("dev", "validation"), "test": row.test_names}[split]
    endings = [edition] if row.only_edition or not edition else [edition, ""]
    stems = [name + ending for name in names for ending in endings]
    with reported(folder):
        there = sorted(path for path in folder.iterdir() if path.is_file())
    for stem in stems:
        for wanted in (".tsv", ".parquet"):
            if found := files_named(folder, [stem + wanted]):
                if len(found) > 1:
                    raise UserError(f"{folder}: both {found[0].name} and {found[1].name}; leave one of them there")
                return found, ""
        parts = [path for path in there if fnmatchcase(path.name.lower(), f"{stem}-*-of-*.parquet")]
        if parts:
            _check_parts(parts)
            return parts, ""
    return [], (
        f"{folder / f'{stems[0]}.tsv'}: no such file, and no {stems[-1]}.parquet or {stems[-1]}-00000-of-….parquet; "
        f"`bertsmith download glue` fetches GLUE"
    )


def _check_parts(parts: Sequence[Path]) -> None:
    """Raise UserError where the last part's name says that there are more of them."""
    total = parts[-1].stem.rpartition("-of-")[2]
    if not total.isdecimal() or len(parts) != int(total):
        raise UserError(
            f"{parts[0].parent}: {len(parts)} of {total} Parquet parts ({parts[-1].name}); fetch the others"
        )
