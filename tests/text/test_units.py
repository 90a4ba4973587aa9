"""Cutting a corpus into units loses and changes nothing, wherever the cuts fall; bad content is counted or refused."""

import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bertsmith.errors import UserError
from bertsmith.text import units
from bertsmith.text.archives import BrokenArchive
from bertsmith.text.units import File, JsonLines
from tests.text.layouts import make_documents, tar, write_archives, write_jsonl, write_openwebtext, write_parquet

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

LINE = st.binary(max_size=40).map(lambda line: re.sub(rb"[\r\n]", b" ", line))


def file(path: Path) -> File:
    return File(str(path), path.stat().st_size)


def read(found, skipped: Counter | None = None) -> list[bytes]:
    skipped = Counter() if skipped is None else skipped
    return [document for unit in found for document in pickle.loads(pickle.dumps(unit)).documents(skipped)]


@quick
@given(content=st.lists(LINE, max_size=60).map(b"\n".join), unit=st.integers(1, 300))
def test_blank_lines_part_the_same_documents_wherever_units_end(content: bytes, unit: int, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", unit)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    expected = [part.strip() for part in re.split(rb"\n\s*\n", content) if part.strip()]
    assert read(units.texts([file(path)], blank_lines=True)) == expected


@quick
@given(content=st.text(alphabet="ab é漢\n", max_size=3000).map(str.encode), limit=st.integers(50, 500))
def test_a_document_beyond_the_limit_goes_on_in_the_next_one(content: bytes, limit: int, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "LONGEST_DOCUMENT", limit)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    found = read(units.texts([file(path)], blank_lines=False))
    assert b"".join(found) == content
    assert all(part.decode() is not None and len(part) <= limit for part in found)


def test_a_long_document_is_cut_at_a_line_if_there_is_one_and_else_at_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "LONGEST_DOCUMENT", 10)
    (tmp_path / "a.txt").write_bytes(b"aa bb\ncc dd ee ff gg")
    assert read(units.texts([file(tmp_path / "a.txt")], False)) == [b"aa bb", b"\ncc dd ee", b" ff gg"]


def test_small_texts_share_a_unit_and_big_ones_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 100)
    for number, size in enumerate([10, 10, 90, 300, 10]):
        (tmp_path / f"{number}.txt").write_bytes(b"a" * size)
    found = list(units.texts([file(tmp_path / f"{number}.txt") for number in range(5)], False))
    assert [len(unit.spans) for unit in found] == [3, 1, 1]
    assert sum(unit.size for unit in found) == 420


@quick
@given(st.lists(LINE, max_size=60), st.sampled_from(["", ".gz", ".xz", ".zst"]), st.integers(1, 2000))
def test_lines_of_json_come_out_whatever_the_units(tmp_path, monkeypatch, lines: list[bytes], suffix: str, unit: int):
    monkeypatch.setattr(units, "UNIT_BYTES", unit)
    texts = [line.decode(errors="replace") for line in lines]
    path = write_jsonl(tmp_path, [text.encode() for text in texts], suffix)
    found = list(units.json_lines([file(path)], "text"))
    assert read(found) == [text.encode() for text in texts]
    assert sum(unit.size for unit in found) <= path.stat().st_size


@quick
@given(
    st.binary(max_size=400)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_line_is_a_document_or_is_counted(line: bytes):
    skipped: Counter[str] = Counter()
    found = list(JsonLines("a", 1, line, "text").documents(skipped))
    filled = sum(not part.isspace() for part in line.split(b"\n") if part)
    assert len(found) + skipped.total() == filled


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"text": "a"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": "\\ud800"}', "not UTF-8"),
        (b'{"other": "a"}', "no text in field 'text'"),
        (b'{"text": 3}', "no text in field 'text'"),
        (b'{"text": null}', "no text in field 'text'"),
        (b'["text"]', "no text in field 'text'"),
        (b"3", "no text in field 'text'"),
    ],
)
def test_a_faulty_line_is_counted_by_its_reason(line: bytes, reason: str):
    skipped: Counter[str] = Counter()
    good = b'{"text": "a"}'
    assert list(JsonLines("a", 1, b"\n".join([good, line, b"", good]), "text").documents(skipped)) == [b"a", b"a"]
    assert skipped == {reason: 1}


def test_a_line_too_long_to_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "LONGEST_LINE", 1 << 20)
    path = write_jsonl(tmp_path, [b"a" * (2 << 20)], ".zst")
    with pytest.raises(BrokenArchive, match="a line of over 1 MB"):
        read(units.json_lines([file(path)], "text"))


def test_a_broken_file_ends_with_a_broken_unit_and_the_next_file_follows(tmp_path):
    first = write_jsonl(tmp_path / "a", make_documents(50), ".gz")
    first.write_bytes(first.read_bytes()[:-20])
    second = write_jsonl(tmp_path / "b", make_documents(5, seed=1), ".gz")
    found = list(units.json_lines([file(first), file(second)], "text"))
    with pytest.raises(BrokenArchive, match=re.escape(str(first))):
        found[-2].documents(Counter())
    assert read(found[-1:]) == make_documents(5, seed=1)


def test_the_archive_and_the_archives_in_it_hold_the_same(tmp_path):
    documents = make_documents(45)
    whole = write_openwebtext(tmp_path / "whole", documents)
    folder = write_archives(tmp_path / "folder", documents)
    found = list(units.archives([file(whole)]))
    assert len(found) == 5
    assert read(found) == documents
    assert read(units.archives(file(path) for path in sorted(folder.iterdir()))) == documents


def test_an_archive_of_texts_is_cut_into_units_too(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 1000)
    documents = make_documents(45)
    (tmp_path / "a.tar").write_bytes(tar(documents))
    found = list(units.archives([file(tmp_path / "a.tar")]))
    assert len(found) > 3
    assert read(found) == documents


def test_a_column_of_parquet_comes_out(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 1000)
    documents = make_documents(45)
    path = write_parquet(tmp_path, documents, "story")
    found = list(units.parquet([file(path)], "story"))
    assert len(found) > 3
    assert read(found) == documents
    assert sum(unit.size for unit in found) == path.stat().st_size


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_text_columns_of_any_type_are_read(tmp_path, kind):
    parquet.write_table(pa.table({"text": pa.array(["a", None, "é"], pa.string()).cast(kind)}), tmp_path / "a.parquet")
    assert read(units.parquet([file(tmp_path / "a.parquet")], "text")) == [b"a", b"", "é".encode()]


def test_a_column_that_is_not_there_or_no_text_is_refused(tmp_path):
    path = write_parquet(tmp_path, make_documents(3))
    with pytest.raises(UserError, match="no column 'texts'; set field= to one of number, text"):
        read(units.parquet([file(path)], "texts"))
    with pytest.raises(UserError, match="column 'number' holds no text"):
        read(units.parquet([file(path)], "number"))


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"PAR1" + bytes(200), lambda _: b""])
def test_a_damaged_parquet_file_is_broken(tmp_path, damage):
    path = write_parquet(tmp_path, make_documents(50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BrokenArchive, match="not a Parquet file"):
        read(units.parquet([file(path)], "text"))


def test_a_missing_file_is_named(tmp_path):
    for found in (units.texts, units.json_lines, units.parquet):
        with pytest.raises(UserError, match="gone"):
            read(found([File(str(tmp_path / "gone"), 3)], "text"))
    with pytest.raises(UserError, match="gone"):
        read(units.archives([File(str(tmp_path / "gone"), 3)]))
