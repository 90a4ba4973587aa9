"""Tables that are trained on and asked about: read as an independent reader of the layout reads them, or refused."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from attack import attack, few_and_many
from mutation import mutated, mutated_json

from bertsmith.tables.labels import MISSING_NAMES
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.texts.examples import read_columns

ROWS = [
    ("it was good", "1", 0.5), ("some “words”, and a comma", "0", 0.25), ('he said "no"', "1.0", 1e-3),
    ("caf\u00e9 \u4e2d\u6587", "1", 17.0), ("a longer text of several words, as texts are", "0", -2.0),
]  # fmt: skip
LABELS, NUMBERS, LISTS = "label", "number", "topics"
DEV = '{"sentence": "it was good", "label": 1, "number": 0.5}\n'


def write_original(folder: Path, layout: str) -> Path:
    folder.mkdir()
    columns = {"sentence": [text for text, _, _ in ROWS], LABELS: [label for _, label, _ in ROWS],
               NUMBERS: [number for _, _, number in ROWS]}  # fmt: skip
    path, rows = folder / f"train.{layout}", list(zip(*columns.values(), strict=True))
    if layout == "parquet":
        options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    elif layout == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            if layout == "csv":
                csv.writer(file).writerows([columns, *rows])
            else:
                file.writelines("\t".join(map(str, row)) + "\n" for row in [list(columns), *rows])
    (folder / "dev.jsonl").write_text(DEV)
    return path


def read(folder: Path) -> None:
    """Read the task in both ways; texts and answers are those that the other reader finds."""
    [path] = folder.glob("train.*")
    for kind, column in (("classification", LABELS), ("regression", NUMBERS)):
        data = read_columns(CustomSettings(kind=kind, label=column), folder)
        theirs = _parquet(path, column) if path.suffix == ".parquet" else OTHERS[path.suffix](path)
        assert len(theirs) == data.train.num_examples
        assert list(data.train.first) == [row["sentence"] for row in theirs]
        if kind == "regression":
            assert data.train.targets.tolist() == [float(row[column]) for row in theirs]
            continue
        labels = data.spec.labels
        assert 2 <= len(labels) <= len(theirs) and not MISSING_NAMES & set(labels)
        for target, row in zip(data.train.targets.tolist(), theirs, strict=True):
            written = row[column].decode() if isinstance(row[column], bytes) else str(row[column])
            visible = "".join(char for char in written if char.isprintable()).split()
            assert labels[target].split() == visible or _number(labels[target]) == _number(written), (labels, row)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.casefold()


def _tsv(path: Path) -> list[dict]:
    text = path.read_text(encoding="utf-8-sig")  # universal line ends
    header, *rows = [line.split("\t") for line in text.split("\n") if line.strip(" \f\v")]
    return [dict(zip(header, row, strict=True)) for row in rows]


def _csv(path: Path) -> list[dict]:
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.DictReader(file) if any(value for value in row.values() if value)]


def _jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]


def _parquet(path: Path, column: str) -> list[dict]:
    return pyarrow.parquet.read_table(path, columns=["sentence", column], page_checksum_verification=True).to_pylist()


OTHERS = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}


@few_and_many
@pytest.mark.parametrize("layout", ["tsv", "csv", "jsonl", "parquet"])
def test_bytes(layout: str, examples: int, tmp_path: Path):
    path = write_original(tmp_path / "original", layout)
    attack(mutated(path.read_bytes()), examples, path.parent, path.name, read, tmp_path)


def read_undamaged_values(folder: Path) -> None:
    """With checksums, what is read of a page is what was written; the names and numbers of rows are not in pages."""
    data = read_columns(CustomSettings(label=NUMBERS, kind="regression"), folder)
    assert set(zip(data.train.first, data.train.targets.tolist(), strict=True)) <= {(t, n) for t, _, n in ROWS}


@few_and_many
def test_pages_of_parquet(examples: int, tmp_path: Path):
    path = write_original(tmp_path / "original", "parquet")
    attack(mutated(path.read_bytes()), examples, path.parent, path.name, read_undamaged_values, tmp_path)


def read_objects(folder: Path) -> None:
    """A line of JSON of whatever structure, among whole ones."""
    for kind, column in (("classification", LABELS), ("multi-label", LISTS)):
        data = read_columns(CustomSettings(kind=kind, label=column), folder)
        assert all(isinstance(text, str) for text in data.train.first)
        assert all(label == label.strip() and label not in MISSING_NAMES for label in data.spec.labels)


@few_and_many
def test_structure(examples: int, tmp_path: Path):
    folder = tmp_path / "original"
    folder.mkdir()
    rows = [{"sentence": f"text {label}", LABELS: label, LISTS: [f"t{label}"]} for label in ("a", "b")]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for name in ("train.jsonl", "dev.jsonl"):
        (folder / name).write_bytes(content)
    damaged = mutated_json(rows[0] | {LISTS: ["ta", "tb"], "other": {"deep": [1, None]}})
    attack(damaged.map(lambda line: content + line), examples, folder, "train.jsonl", read_objects, tmp_path)
