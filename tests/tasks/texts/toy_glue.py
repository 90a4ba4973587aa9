"""Small GLUE folders in the original layout, whose labels single words decide; far from the published counts."""

from pathlib import Path

import numpy as np

from bertsmith.tasks.published.glue import SETS
from tests.toys import WORDS

SIZES = {"train": 24, "dev": 12, "test": 6}
FILES = {("mnli-mismatched", "dev"): "dev_mismatched", ("mnli-mismatched", "test"): "test_mismatched",
         ("ax", "test"): "diagnostic", ("mnli", "dev"): "dev_matched", ("mnli", "test"): "test_matched"}  # fmt: skip


def write_glue(folder: Path, *tasks: str) -> Path:
    """A folder with the splits of these keys of `SETS`; more may be added by another call. Returns `folder`."""
    for task in tasks:
        splits = {"mnli-mismatched": ("dev", "test"), "ax": ("test",)}.get(task, tuple(SIZES))
        for split in splits:
            write_split(folder, task, split)
    return folder


def write_split(folder: Path, task: str, split: str, rows: int | None = None) -> Path:
    row, rng = SETS[task], np.random.default_rng(len(split))
    labels = row.spec.labels or ("0.500", "4.500")
    lines = []
    header = row.header if row.header and split != "test" else ("index", *row.texts, row.label)
    if split == "test":
        header = header[:-1]
    if row.header is None or split == "test":
        lines.append("\t".join(header))
    for index in range(rows or SIZES[split]):
        chosen = index % len(labels)
        words = " ".join(rng.choice(WORDS[10 * chosen : 10 * chosen + 10], size=4))
        cells = dict.fromkeys(header, "x") | dict.fromkeys(row.texts, words) | {"index": str(index)}
        if split != "test":
            cells[row.label] = labels[chosen]
        lines.append("\t".join(cells[column] for column in header))
    path = folder / row.folders[0] / f"{FILES.get((task, split), split)}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
