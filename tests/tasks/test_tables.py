"""Each layout gives the same table; each fault is named with its file and line."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.tasks.table_files import column_names, read_table

ROWS = [("a plain text", 1), ('some "quotes" and , commas', 0), ("other\u2028separators\x85of lines", 1)]


def write(folder, layout):
    path = folder / f"data.{layout}"
    if layout == "tsv":
        path.write_text(
            "id\ttext\tlabel\n" + "".join(f"7\t{text}\t{label}\n" for text, label in ROWS), encoding="utf-8"
        )
    elif layout == "csv":
        quoted = [text.replace('"', '""') for text, _ in ROWS]
        lines = [f'7,"{text}",{label}\r\n' for text, (_, label) in zip(quoted, ROWS, strict=True)]
        path.write_bytes(("\ufeffid,text,label\r\n" + "".join(lines)).encode())
    elif layout == "jsonl":
        objects = [{"label": label, "id": 7, "text": text} for text, label in ROWS]
        path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in objects), encoding="utf-8")
    else:
        columns = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS], "id": [7] * 3}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("layout", ["tsv", "csv", "jsonl", "parquet"])
def test_layouts_agree(tmp_path, layout):
    table = read_table(write(tmp_path, layout), ("text", "label"))
    assert table.texts("text") == [text for text, _ in ROWS]
    assert table.class_ids("label", ("1", "0")).tolist() == [0, 1, 0]
    assert table.numbers("label").tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"no column 'answer'|no 'answer'"):
        read_table(write(tmp_path, layout), ("text", "answer"))


def test_a_quoted_line_break(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"two\nlines",1\none,x\n')
    table = read_table(path, ("text", "label"))
    assert table.texts("text") == ["two\nlines", "one"]
    with pytest.raises(UserError, match=r"data.csv, line 4: label is 'x'"):
        table.numbers("label")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"text\tlabel\ngood\t1\nbad\n", r"a.tsv, line 3: 1 columns where there should be 2"),
        ("a.tsv", b"text\tlabel\ngood\t1\t1\n", r"a.tsv, line 2: 3 columns"),
        ("a.tsv", b"text\tlabel\ngood\t1\n\xff\t1\n", r"a.tsv, line 3: not UTF-8"),
        ("a.tsv", b"text\tlabel\n", r"a.tsv: no examples"),
        ("a.tsv", b"", r"a.tsv: no examples in this file"),
        ("a.tsv", b"text\tlabel\tlabel\ngood\t1\t0\n", r"a.tsv, line 1: 2 columns are named 'label'"),
        ("a.csv", b'text,label\n"open,1\n', r"a.csv, line 2: not CSV"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": \n', r"a.jsonl, line 2: not a JSON object"),
        ("a.jsonl", b"[1]\n", r"a.jsonl, line 1: not a JSON object"),
        ("a.parquet", b"PAR1 or not", r"a.parquet: damaged or not Parquet"),
    ],
)
def test_faults(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / name, ("text", "label"))


def test_a_column_that_is_there_twice_and_not_wanted_is_nobodys_concern(tmp_path):
    (tmp_path / "a.tsv").write_text("id\tid\ttext\tlabel\n1\t2\tgood\t1\n")
    assert read_table(tmp_path / "a.tsv", ("text", "label")).texts("text") == ["good"]


@pytest.mark.parametrize("layout", ["tsv", "csv", "jsonl", "parquet"])
def test_columns_have_their_names_in_every_layout(tmp_path, layout):
    assert sorted(column_names(write(tmp_path, layout))) == ["id", "label", "text"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_has_no_columns(tmp_path, name):
    (tmp_path / name).write_text("")
    assert column_names(tmp_path / name) == []


def test_a_folder_in_the_place_of_a_file_is_said(tmp_path):
    (tmp_path / "a.tsv").mkdir()
    for reader in (column_names, lambda path: read_table(path, ("text",))):
        with pytest.raises(UserError, match=r"a.tsv: a folder"):
            reader(tmp_path / "a.tsv")
        with pytest.raises(UserError, match=r"b.tsv: no such file"):
            reader(tmp_path / "b.tsv")


def test_malformed_lines_can_be_left_out(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\ngood\t1\nbad\nfine\t0\n")
    table = read_table(path, ("text", "label"), skip_malformed=True)
    assert (table.texts("text"), table.lines) == (["good", "fine"], [2, 4])
    first = "line 3: 1 columns where there should be 2"
    assert table.left_out == f"{path}: 1 malformed lines left out; the first is {first}"


def test_values_of_a_wrong_kind(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null, "label": true}\n')
    table = read_table(path, ("text", "label"))
    with pytest.raises(UserError, match=r"line 1: text is None; it must be text"):
        table.texts("text")
    with pytest.raises(UserError, match=r"line 1: label is True; the task's labels are 0, 1"):
        table.class_ids("label", ("0", "1"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(content=st.binary(max_size=80), name=st.sampled_from(["a.tsv", "a.csv", "a.jsonl", "a.parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(b"text\tlabel\n" + content if name == "a.tsv" else content)
    try:
        table = read_table(path, ("text", "label"))
        assert len(table.columns["text"]) == len(table.lines) > 0
    except UserError as error:
        assert str(path) in str(error)


def test_numbers_keep_their_precision_and_are_no_greater_than_training_can_hold(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\nx\t2.500000001\ny\t3.4e38\n")
    assert read_table(path, ("label",)).numbers("label").tolist() == [2.500000001, 3.4e38]
    path = tmp_path / "a.jsonl"
    for number in ("3.5e38", "1" + "0" * 400, "NaN"):
        path.write_text(f'{{"label": {number}}}\n')
        with pytest.raises(UserError, match=r"a.jsonl, line 1: label is .*; it must be a number"):
            read_table(path, ("label",)).numbers("label")


def test_half_a_character_is_malformed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude00"}\n{"text": "half \\ud83d"}\n' + "[" * 10_000 + "\n")
    with pytest.raises(UserError, match=r"a.jsonl, line 2: half a character \('\\ud83d'\), as where an emoji was cut"):
        read_table(path, ["text"])
    table = read_table(path, ["text"], skip_malformed=True)
    assert table.texts("text") == ["whole \U0001f600"] and "2 malformed lines left out" in table.left_out
