"""`predict --out` of every kind of answer, by value: the rows that were given, and what the model says of each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import bertsmith
from bertsmith.tasks.finetune import finetune
from tests.predict.test_file_answers import read_out
from tests.predict.test_predictor import run as answered
from tests.tasks.answering.toy_questions import ask, columns
from tests.tasks.texts.test_multi_label import write_topics
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tasks.words.toy_tagging import write_tagging

LAYOUTS = ["csv", "tsv", "jsonl", "parquet"]
IDS = ["007", "1.10", "9007199254740993", "a b", "12"]
KINDS = {
    "topics": ("custom.kind=multi-label", "epochs=4"), "numbers": ("custom.kind=regression", "epochs=1"),
    "tags": ("custom.kind=tagging", "epochs=1"),
    "questions": ("custom.kind=answering", "answering.question_length=8", "epochs=1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_model(folder)
    write_topics(folder)
    write_task(folder, numbers=True).rename(folder / "numbers")
    write_tagging(folder).rename(folder / "tags")
    (folder / "questions").mkdir()
    for split, asked in (("train", ask(100, 0)), ("dev", ask(20, 1))):
        (folder / f"questions/{split}.tsv").write_text(columns(asked))
    for kind, settings in KINDS.items():
        finetune(toy_recipe(folder / "model", folder / kind, "seeds=1", *settings), folder / f"run-{kind}")
    return folder


def asked_of(kind: str) -> dict[str, list[str]]:
    if kind == "questions":
        some = ask(5, 9)
        return {"question": [one.question for one in some], "context": [one.context for one in some]}
    return {"sentence": ["ba be bi", "du di", "ca", "ba du ca ce", "be"]}


def write_rows(path: Path, given: dict[str, list[Any]]) -> Path:
    rows = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(given), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        between = "," if path.suffix == ".csv" else "\t"
        lines = [between.join(given), *(between.join(map(str, row.values())) for row in rows)]
        path.write_text("\r\n".join(lines))
    return path


def value(cell: Any) -> Any:
    """A list or a number in a cell of text, which JSON writes."""
    return json.loads(cell) if isinstance(cell, str) else cell


PAIRS = [(layout, out) for layout in LAYOUTS for out in LAYOUTS]
SOME = [("csv", "tsv"), ("tsv", "jsonl"), ("jsonl", "parquet"), ("parquet", "csv")]


@pytest.mark.parametrize(
    ("layout", "out"), [pair if pair in SOME else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
)
@pytest.mark.parametrize("kind", KINDS)
def test_each_row_has_its_columns_and_its_answer(runs, tmp_path, kind, layout, out):
    texts, run = asked_of(kind), runs / f"run-{kind}"
    widths = [0.1, 1e-7, 123456.789, 2.5, 3.0]
    given = {"id": IDS, **texts, "width": widths}
    path = write_rows(tmp_path / f"new.{layout}", given)
    said = answered("predict", run, "--file", path, "--out", tmp_path / f"out.{out}")
    assert said == f"wrote {tmp_path}/out.{out}: 5 rows\n"
    rows = read_out(tmp_path / f"out.{out}")
    assert [str(row["row"]) for row in rows] == list("12345") and [row["id"] for row in rows] == IDS
    for name in texts:
        assert [row[name] for row in rows] == texts[name]
    assert [float(row["width"]) for row in rows] == widths
    model = bertsmith.load(run, device="cpu")
    for number, row in enumerate(rows):
        text = [column[number] for column in texts.values()]
        if kind == "topics":
            answer = model.classify(text[0])
            assert value(row["prediction"]) == list(answer.labels)
            assert value(row["probability"]) == pytest.approx([answer.probs[label] for label in answer.labels])
        elif kind == "numbers":
            assert "probability" not in row
            assert float(row["prediction"]) == pytest.approx(model.classify(text[0]).value, rel=1e-6)
        elif kind == "tags":
            [words], _ = model.tag_with_probs([text[0].split()])
            words, tags, probs = zip(*words, strict=True)
            assert value(row["words"]) == list(words) == text[0].split() and value(row["prediction"]) == list(tags)
            assert value(row["probability"]) == pytest.approx(list(probs), abs=1e-5)
        else:
            answer = model.answer(*text)
            assert (row["prediction"], int(row["start"])) == (answer.text, answer.start)
            assert float(row["probability"]) == pytest.approx(answer.prob, abs=1e-5)
            assert text[1][answer.start :].startswith(row["prediction"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_a_text_has_an_empty_answer_and_all_others_theirs(runs, tmp_path, kind):
    texts = asked_of(kind)
    for column in texts.values():
        column[2] = None if kind == "tags" else ""
    path = write_rows(tmp_path / "new.jsonl", {"id": IDS, **texts})
    answered("predict", runs / f"run-{kind}", "--file", path, "--out", tmp_path / "out.parquet")
    rows = read_out(tmp_path / "out.parquet")
    assert [row["id"] for row in rows] == IDS and rows[2]["prediction"] is None
    assert all(row["prediction"] is not None for row in rows[:2] + rows[3:])


def test_numbers_are_written_with_all_their_digits(runs, tmp_path):
    path = write_rows(tmp_path / "new.csv", asked_of("numbers"))
    for out in LAYOUTS:
        answered("predict", runs / "run-numbers", "--file", path, "--out", tmp_path / f"out.{out}")
    found = [[float(row["prediction"]) for row in read_out(tmp_path / f"out.{out}")] for out in LAYOUTS]
    assert found[0] == found[1] == found[2] == found[3] and len(set(found[0])) == 5
    assert np.abs(np.array(found[0]) - np.round(found[0], 6)).max() > 0
