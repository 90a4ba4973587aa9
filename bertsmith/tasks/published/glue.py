"""The GLUE tasks, in the original TSV layout or as the Hugging Face hub's Parquet files.

Sources: the TSV files of gluebenchmark.com; the layout and the class ids of the hub's nyu-mll/glue; labels in the order
of google-research/electra, finetune/classification/classification_tasks.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bertsmith.errors import FilesNotFound, UserError
from bertsmith.storage.files import ending, reported
from bertsmith.tables.cells import Cell, given_text
from bertsmith.tables.files import LINE_REMEDY, CheckedTable, column_names, read_table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.custom import only_file
from bertsmith.tasks.task_spec import TaskData, TaskSpec
from bertsmith.tasks.texts.examples import Examples, check_count

SplitName = Literal["train", "dev", "test"]


class GlueLayout(NamedTuple):
    """A task of GLUE, and how its files look."""

    spec: TaskSpec
    folders: tuple[str, ...]
    """Names that its folder goes by: GLUE's, the reference's, the hub's."""
    texts: tuple[str, ...]
    """Column or columns of the TSV."""
    label: str
    """Column of the TSV."""
    counts: dict[SplitName, tuple[int, ...]]
    """The published numbers of examples; two where two editions are about."""
    hub_texts: tuple[str, ...] = ()
    """Columns of the hub's files, where they are called otherwise."""
    hub_labels: tuple[str, ...] = ()
    """Labels in the order of the hub's class ids, where these are not the labels."""
    header: tuple[str, ...] | None = None
    """Columns of train and dev, where their TSV has no header line (test has one)."""
    suffix: str = ""
    """The text after dev, validation and test in the names of its files."""
    requires_suffix: bool = False
    """Whether a file without it is of another edition."""
    test_names: tuple[str, ...] = ("test",)

    def of_file(self, path: Path) -> "GlueLayout":
        """Return the same with the columns and labels of this file, a TSV or one of the hub's."""
        if ending(path) != ".parquet":
            return self._replace(hub_labels=())
        return self._replace(texts=self.hub_texts or self.texts, label="label", header=None)

    def target_cell(self) -> Cell:
        """Return how a file's answers are read: as a class id, or a number."""
        return self.spec.answers.gold_cell(self.hub_labels)

    def targets(self, tables: Sequence[CheckedTable]) -> np.ndarray:
        """Return [R]: int64 class ids, or float64 numbers."""
        answers = [answer for table in tables for answer in table.columns[self.label]]
        return np.array(answers, dtype=self.spec.answers.dtype)


NOT_ENTAILMENT, ENTAILMENT = "not_entailment", "entailment"
PAIR = ("sentence1", "sentence2")
BINARY = OneLabel(("0", "1"))

GLUE: dict[str, GlueLayout] = {
    "cola": GlueLayout(
        TaskSpec("cola", ("mcc",), BINARY), ("CoLA", "cola"), ("sentence",), "label",
        {"train": (8551,), "dev": (1043,), "test": (1063,)},
        header=("source", "label", "original_label", "sentence"),
    ),
    "sst-2": GlueLayout(
        TaskSpec("sst-2", ("accuracy",), BINARY), ("SST-2", "sst", "sst2"), ("sentence",), "label",
        {"train": (67349,), "dev": (872,), "test": (1821,)},
    ),
    "mrpc": GlueLayout(
        TaskSpec("mrpc", ("accuracy", "f1"), BINARY, symmetric=True),
        ("MRPC", "mrpc"), ("#1 String", "#2 String"), "Quality", {"train": (3668,), "dev": (408,), "test": (1725,)},
        hub_texts=PAIR,
    ),
    "sts-b": GlueLayout(
        TaskSpec("sts-b", ("spearman", "pearson"), Number(high=5.0), symmetric=True),
        ("STS-B", "sts", "stsb"), PAIR, "score", {"train": (5749,), "dev": (1500,), "test": (1379,)},
    ),
    "qqp": GlueLayout(
        TaskSpec("qqp", ("accuracy", "f1"), BINARY), ("QQP", "qqp"), ("question1", "question2"), "is_duplicate",
        {"train": (363846, 363849), "dev": (40430,), "test": (390965,)},
    ),
    "mnli": GlueLayout(
        TaskSpec("mnli", ("accuracy",), OneLabel(("contradiction", "entailment", "neutral"))),
        ("MNLI", "mnli"), PAIR, "gold_label", {"train": (392702,), "dev": (9815,), "test": (9796,)},
        ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), suffix="_matched",
    ),
    "qnli": GlueLayout(
        TaskSpec("qnli", ("accuracy",), OneLabel((ENTAILMENT, NOT_ENTAILMENT))), ("QNLI", "qnli"),
        ("question", "sentence"), "label", {"train": (104743,), "dev": (5463,), "test": (5463,)},
        hub_labels=(ENTAILMENT, NOT_ENTAILMENT),
    ),
    "rte": GlueLayout(
        TaskSpec("rte", ("accuracy",), OneLabel((ENTAILMENT, NOT_ENTAILMENT))), ("RTE", "rte"), PAIR, "label",
        {"train": (2490,), "dev": (277,), "test": (3000,)}, hub_labels=(ENTAILMENT, NOT_ENTAILMENT),
    ),
    "wnli": GlueLayout(
        TaskSpec("wnli", ("accuracy",), BINARY), ("WNLI", "wnli"), PAIR, "label",
        {"train": (635,), "dev": (71,), "test": (146,)},
    ),
}  # fmt: skip

MNLI_MISMATCHED, DIAGNOSTIC = "mnli-mismatched", "ax"

SETS = GLUE | {
    MNLI_MISMATCHED: GLUE["mnli"]._replace(
        suffix="_mismatched", requires_suffix=True, counts={"dev": (9832,), "test": (9847,)}
    ),
    DIAGNOSTIC: GLUE["mnli"]._replace(
        folders=("diagnostic", "AX", "ax"), suffix="", counts={"test": (1104,)}, test_names=("diagnostic", "test")
    ),
}
"""The tasks, and the sets that a model of MNLI is asked about besides MNLI's own: only dev and test, only test."""


def read_glue(name: str, data: Path, *, check_counts: bool = True, skip_malformed: bool = False) -> TaskData:
    """Return the task `name` out of the GLUE folder `data`; of MNLI with the mismatched dev set where it is there. See
    `read_split`."""
    options = {"check_counts": check_counts, "skip_malformed": skip_malformed}
    train, dev = (read_split(name, data, split, **options) for split in ("train", "dev"))
    others = {}
    if name == "mnli" and why_absent(MNLI_MISMATCHED, data, "dev") is None:
        others[SETS[MNLI_MISMATCHED].suffix] = read_split(MNLI_MISMATCHED, data, "dev", **options)
    return TaskData(GLUE[name].spec, train, dev, others)


def why_absent(name: str, data: Path, *splits: SplitName) -> str | None:
    """Return what is not in the folder `data` of these splits of a key of `SETS`; None where all files are there.
    Raises UserError where a file is there in part only."""
    try:
        for split in splits:
            _find_files(SETS[name], data, split)
    except FilesNotFound as error:
        return str(error).partition(";")[0]
    return None


def read_split(
    name: str, data: Path, split: SplitName, *, check_counts: bool = True, skip_malformed: bool = False
) -> Examples:
    """Return one split of a key of `SETS` out of the GLUE folder `data`; of `test` no labels are read. Raises UserError
    where the folder, the file or a column is missing; a line is malformed, unless they are left out; a label is not the
    task's; the number of examples is not the published one, if that is checked."""
    paths = _find_files(SETS[name], data, split)
    layout, is_test = SETS[name].of_file(paths[0]), split == "test"
    header = None if is_test else layout.header
    wanted: dict[str, Cell] = dict.fromkeys(layout.texts, given_text)
    if not is_test:
        wanted[layout.label] = layout.target_cell()
    remedy = "fix the line" if is_test else LINE_REMEDY  # a line less, and all indices after it are wrong
    tables = [read_table(path, wanted, header=header, skip_malformed=skip_malformed, remedy=remedy) for path in paths]
    first, *second = ([text for table in tables for text in table.columns[column]] for column in layout.texts)
    if check_counts:
        check_count(paths[0], len(first), layout.counts[split])
    targets = None if is_test else layout.targets(tables)
    return Examples(first, second[0] if second else None, targets, _notes(tables))


def read_dev_labels(name: str, gold: Path, *, skip_malformed: bool = False) -> tuple[Path, np.ndarray, tuple[str, ...]]:
    """Return the file of a dev set, or the first of several, its labels [N] (class ids or numbers), and of each file
    with malformed lines, which no index counts, what `CheckedTable.notes` say.

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
    layout = GLUE[name]
    paths = _split_files(layout, _inner_folder(layout, gold) or gold, "dev") if gold.is_dir() else [gold]
    layout = layout.of_file(paths[0])
    label, header, target = layout.label, layout.header, layout.target_cell()
    # Without `skip_malformed` a label that is none is an error: without its row, all indices after it would be of
    # other rows.
    wanted: dict[str, Cell] = {label: target if skip_malformed else lambda value: value}
    if skip_malformed:
        there = column_names(paths[0]) if header is None else header
        wanted |= {name: given_text for name in layout.texts if name in there}
    tables = [read_table(path, wanted, header=header, skip_malformed=True) for path in paths]
    for table in tables if not skip_malformed else ():
        for place, line in enumerate(table.lines):
            try:
                table.columns[label][place] = target(table.columns[label][place])
            except ValueError as error:
                raise UserError(
                    f"{table.path}, line {line}: {label} {error}; fix it, or where no index of the predictions counts "
                    f"such lines (a run's with skip_malformed=true) leave them out with --skip-malformed"
                ) from None
    return paths[0], layout.targets(tables), _notes(tables)


def _notes(tables: Sequence[CheckedTable]) -> tuple[str, ...]:
    return tuple(line for table in tables for line in table.notes)


def _find_files(layout: GlueLayout, data: Path, split: SplitName) -> Sequence[Path]:
    """Return the split's files in the folder of all tasks. Raises FilesNotFound."""
    if not data.is_dir():
        raise FilesNotFound(f"{data}: no such folder; data=… names the folder of all GLUE tasks")
    if folder := _inner_folder(layout, data):
        return _split_files(layout, folder, split)
    raise FilesNotFound(
        f"{data}: no folder {' or '.join(layout.folders)} in it; data=… names the folder of all GLUE tasks"
    )


def _inner_folder(layout: GlueLayout, data: Path) -> Path | None:
    """Return the task's folder in that of all tasks, whose name may be in any case; None where there is none."""
    with reported(data):
        there = sorted(path for path in data.iterdir() if path.is_dir())
    for name in layout.folders:
        if found := [path for path in there if path.name == name] or [
            path for path in there if path.name.lower() == name.lower()
        ]:
            return found[0]
    return None


def _split_files(layout: GlueLayout, folder: Path, split: SplitName) -> Sequence[Path]:
    """Return the split's files, all of one layout. Raises FilesNotFound; UserError where Parquet parts are missing."""
    suffix = "" if split == "train" else layout.suffix
    names = {"train": ("train",), "dev": ("dev", "validation"), "test": layout.test_names}[split]
    endings = [suffix] if layout.requires_suffix or not suffix else [suffix, ""]
    stems = [name + ending for name in names for ending in endings]
    with reported(folder):
        there = sorted(path for path in folder.iterdir() if path.is_file())
    for stem in stems:
        for wanted in (".tsv", ".parquet"):
            if path := only_file(folder, [stem + wanted]):
                return [path]
        if parts := [path for path in there if fnmatchcase(path.name.lower(), f"{stem}-*-of-*.parquet")]:
            total = parts[-1].stem.rpartition("-of-")[2]
            if not total.isdecimal() or len(parts) != int(total):
                raise UserError(f"{folder}: {len(parts)} of {total} Parquet parts ({parts[-1].name}); fetch the others")
            return parts
    raise FilesNotFound(
        f"{folder / f'{stems[0]}.tsv'}: no such file, and no {stems[-1]}.parquet or {stems[-1]}-00000-of-….parquet; "
        f"`bertsmith download glue` fetches GLUE"
    )


def _registered(name: str) -> TaskSpec:
    layout = GLUE[name]

    def read(recipe: Any) -> TaskData:
        return read_glue(
            name, Path(recipe.data), check_counts=recipe.check_counts, skip_malformed=recipe.skip_malformed
        )

    columns = tuple(dict.fromkeys([layout.texts, layout.hub_texts or layout.texts]))
    return replace(layout.spec, columns=columns, has_published_counts=True, read=read)


SPECS = tuple(map(_registered, GLUE))
