"""Cutting a corpus into parts loses and changes nothing, wherever the cuts fall; bad content is counted or refused."""

import bz2
import gzip
import json
import lzma
import pickle
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bertsmith.errors import UserError
from bertsmith.text import compression
from bertsmith.text.compression import UnreadableInput, decompressed
from bertsmith.text.layouts import json_lines, layout, openwebtext
from bertsmith.text.layouts.json_lines import JsonLinesPart, JsonLinesRange, json_line_parts
from bertsmith.text.layouts.layout import CorpusFile
from bertsmith.text.layouts.openwebtext import archive_parts
from bertsmith.text.layouts.parquet import RowGroups, parquet_parts
from bertsmith.text.layouts.plain_text import text_parts
from tests.text.layouts import (
    archives,
    make_documents,
    set_part_bytes,
    tar,
    write_archives,
    write_jsonl,
    write_openwebtext,
    write_parquet,
)

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

LINE = st.binary(max_size=40).map(lambda line: re.sub(rb"[\r\n]", b" ", line))


PIECES = [
    "a",
    "é",
    "\u3042",
    "\u201d",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x85",
    "\x1c",
    " ",
    "\t",
    *["\n", "\r", "\r\n"] * 4,
]
"""Letters, some of bytes that spaces have too; spaces; line ends."""


def stripped_by_python(text: str) -> list[bytes]:
    """Documents between blank lines, as a loop over lines finds them that are stripped, as the reference's is."""
    documents, lines = [], []
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            documents.append("\n".join(lines).encode().strip())
            lines = []
    return documents


def file(path: Path) -> CorpusFile:
    return CorpusFile(str(path), path.stat().st_size)


def read(found, skipped: Counter | None = None) -> list[bytes]:
    skipped = Counter() if skipped is None else skipped
    return [document for part in found for document in pickle.loads(pickle.dumps(part)).documents(skipped)]


def read_leniently(found) -> tuple[list[bytes], list[UnreadableInput]]:
    """As `read`, with what was broken and passed over."""
    broken: list[UnreadableInput] = []
    return [document for part in found for document in part.documents(Counter(), broken.append)], broken


@quick
@given(content=st.lists(st.sampled_from(PIECES), max_size=80).map("".join).map(str.encode), size=st.integers(1, 60))
def test_blank_lines_separate_the_same_documents_wherever_parts_end(content: bytes, size: int, tmp_path, monkeypatch):
    set_part_bytes(monkeypatch, size)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert read(text_parts([file(path)], blank_lines=True)) == stripped_by_python(content.decode())


@quick
@given(content=st.text(alphabet="ab é漢\n", max_size=3000).map(str.encode), limit=st.integers(50, 500))
def test_a_document_beyond_the_limit_goes_on_in_the_next_one(content: bytes, limit: int, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", limit)
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    found = read(text_parts([file(path)], blank_lines=False))
    assert b"".join(found) == content
    assert all(part.decode() is not None and len(part) <= limit for part in found)


def test_a_long_document_is_cut_at_a_line_if_there_is_one_and_else_at_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", 10)
    (tmp_path / "a.txt").write_bytes(b"aa bb\ncc dd ee ff gg")
    assert read(text_parts([file(tmp_path / "a.txt")], False)) == [b"aa bb", b"\ncc dd ee", b" ff gg"]


def test_small_texts_share_a_part_and_big_ones_do_not(tmp_path, monkeypatch):
    set_part_bytes(monkeypatch, 100)
    for number, size in enumerate([10, 10, 90, 300, 10]):
        (tmp_path / f"{number}.txt").write_bytes(b"a" * size)
    found = list(text_parts([file(tmp_path / f"{number}.txt") for number in range(5)], False))
    assert [len(part.spans) for part in found] == [3, 1, 1]
    assert sum(part.size for part in found) == 420


@quick
@given(st.lists(LINE, max_size=60), st.sampled_from(["", ".gz", ".xz", ".zst"]), st.integers(1, 2000))
def test_lines_of_json_come_out_whatever_the_parts(tmp_path, monkeypatch, lines: list[bytes], suffix: str, size: int):
    set_part_bytes(monkeypatch, size)
    texts = [line.decode(errors="replace") for line in lines]
    path = write_jsonl(tmp_path, [text.encode() for text in texts], suffix)
    found = list(json_line_parts([file(path)], "text"))
    assert read(found) == [text.encode() for text in texts]
    assert sum(part.size for part in found) <= path.stat().st_size


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(st.sampled_from([b"a", b"abcdefg", b"\n", b"\n\n", b"x" * 30]), max_size=60).map(b"".join),
    part=st.integers(1, 40), longest=st.integers(1, 60), chunk=st.integers(1, 24),
)  # fmt: skip
def test_a_plain_file_is_cut_where_reading_it_forwards_cuts_it(
    tmp_path, monkeypatch, content: bytes, part: int, longest: int, chunk: int
):
    """Also around lines that are too long, of which nothing is read."""
    set_part_bytes(monkeypatch, part)
    monkeypatch.setattr(json_lines, "LONGEST_LINE", longest)
    monkeypatch.setattr(compression, "CHUNK_BYTES", chunk)
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with path.open("rb") as opened:
        forwards = list(json_lines._whole_lines(decompressed(opened, "a"), "a"))
    found = list(json_line_parts([file(path)], "text"))
    assert [content[each.start : each.stop] if isinstance(each, JsonLinesRange) else each.reason for each in found] == [
        each if isinstance(each, bytes) else str(each).replace("a:", f"{path}:", 1) for each in forwards
    ]


def test_listing_a_plain_file_reads_little_of_it(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path, [b"a" * 1000] * 3000)
    set_part_bytes(monkeypatch, 200_000)
    read, counted = layout.read_range, Counter()

    def count(name, start, stop):
        counted["bytes"] += stop - start
        return read(name, start, stop)

    monkeypatch.setattr(layout, "read_range", count)
    found = list(json_line_parts([file(path)], "text"))
    assert len(found) > 10 and sum(part.size for part in found) == path.stat().st_size
    assert counted["bytes"] <= (1 + len(found)) * compression.CHUNK_BYTES


def test_a_plain_file_that_was_cut_meanwhile_is_told_of(tmp_path):
    path = write_jsonl(tmp_path, make_documents(5))
    found = list(json_line_parts([file(path)], "text"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"corpus\.jsonl: is shorter than when it was listed"):
        read(found)


@quick
@given(
    st.binary(max_size=400)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_line_is_a_document_or_is_counted(line: bytes):
    skipped: Counter[str] = Counter()
    found = list(JsonLinesPart("a", 1, line, "text").documents(skipped))
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
    assert list(JsonLinesPart("a", 1, b"\n".join([good, line, b"", good]), "text").documents(skipped)) == [b"a", b"a"]
    assert skipped == {reason: 1}


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst", ".bz2"])
def test_a_line_too_long_to_hold_is_refused_and_those_around_it_are_not(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 1 << 16)
    path = write_jsonl(tmp_path, [b"one", b"a" * (1 << 21), b"two", b"b" * (1 << 16), b"three"], suffix)
    with pytest.raises(UnreadableInput, match="a line of over 0 MB"):
        read(json_line_parts([file(path)], "text"))
    broken: list[UnreadableInput] = []
    found = list(json_line_parts([file(path)], "text"))
    assert [text for part in found for text in part.documents(Counter(), broken.append)] == [b"one", b"two", b"three"]
    assert len(broken) == 2


def test_a_broken_file_ends_with_a_broken_part_and_the_next_file_follows(tmp_path):
    first = write_jsonl(tmp_path / "a", make_documents(50), ".gz")
    first.write_bytes(first.read_bytes()[:-20])
    second = write_jsonl(tmp_path / "b", make_documents(5, seed=1), ".gz")
    found = list(json_line_parts([file(first), file(second)], "text"))
    with pytest.raises(UnreadableInput, match=re.escape(str(first))):
        found[-2].documents(Counter())
    assert read(found[-1:]) == make_documents(5, seed=1)


def test_the_archive_and_the_archives_in_it_hold_the_same(tmp_path):
    documents = make_documents(45)
    whole = write_openwebtext(tmp_path / "whole", documents)
    folder = write_archives(tmp_path / "folder", documents)
    found = list(archive_parts([file(whole)]))
    assert len(found) == 5
    assert read(found) == documents
    assert read(archive_parts(file(path) for path in sorted(folder.iterdir()))) == documents


def test_an_archive_of_texts_is_cut_into_parts_too(tmp_path, monkeypatch):
    set_part_bytes(monkeypatch, 1000)
    documents = make_documents(45)
    (tmp_path / "a.tar").write_bytes(tar(documents))
    found = list(archive_parts([file(tmp_path / "a.tar")]))
    assert len(found) > 3
    assert read(found) == documents


def test_a_column_of_parquet_comes_out(tmp_path, monkeypatch):
    set_part_bytes(monkeypatch, 1000)
    documents = make_documents(45)
    path = write_parquet(tmp_path, documents, "story")
    found = list(parquet_parts([file(path)], "story"))
    assert len(found) > 3
    assert read(found) == documents
    assert sum(part.size for part in found) == path.stat().st_size


@quick
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 7), st.integers(1, 900), st.integers(1, 900))
def test_row_groups_come_out_whatever_the_parts(
    tmp_path, monkeypatch, sizes: list[int], group: int, part: int, longest: int
):
    """Those too large for a part are read and cut where the parts are listed."""
    set_part_bytes(monkeypatch, part)
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", max(longest, 400))
    texts = [f"{number} {'a' * size}"[:400] for number, size in enumerate(sizes)]
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=group)
    found = list(parquet_parts([file(path)], "text"))
    assert read(found) == [text.encode() for text in texts]
    assert sum(part.size for part in found) == (path.stat().st_size if texts else 0)
    groups = [number for part in found if isinstance(part, RowGroups) for number in part.groups]
    assert groups == sorted(set(groups))


def test_row_groups_are_left_to_the_workers(tmp_path, monkeypatch):
    set_part_bytes(monkeypatch, 1000)
    found = list(parquet_parts([file(write_parquet(tmp_path, make_documents(45)))], "text"))
    assert [part.groups for part in found] == [range(number, number + 1) for number in range(7)]
    assert len(pickle.dumps(found[0])) < 500, "no text in it"


def test_a_row_group_with_more_text_than_it_says_is_told_of(tmp_path, monkeypatch):
    """A dictionary holds each text once, however many rows have it."""
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", 4000)
    path = write_parquet(tmp_path, [b"a" * 1000] * 7)
    found, broken = read_leniently(parquet_parts([file(path)], "text"))
    assert found == [b"a" * 1000] * 4
    assert [str(error) for error in broken] == [
        f"{path}: over 0 MB of text in row groups that are said to have less; write it again with smaller ones"
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_text_columns_of_any_type_are_read(tmp_path, kind):
    parquet.write_table(pa.table({"text": pa.array(["a", None, "é"], pa.string()).cast(kind)}), tmp_path / "a.parquet")
    assert read(parquet_parts([file(tmp_path / "a.parquet")], "text")) == [b"a", b"", "é".encode()]


def test_a_column_that_is_not_there_or_no_text_is_refused(tmp_path):
    path = write_parquet(tmp_path, make_documents(3))
    with pytest.raises(UserError, match="no column 'texts'; set field= to one of number, text"):
        read(parquet_parts([file(path)], "texts"))
    with pytest.raises(UserError, match="column 'number' holds no text"):
        read(parquet_parts([file(path)], "number"))


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"PAR1" + bytes(200), lambda _: b""])
def test_a_damaged_parquet_file_is_broken(tmp_path, damage):
    path = write_parquet(tmp_path, make_documents(50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableInput, match="not a Parquet file"):
        read(parquet_parts([file(path)], "text"))


def test_a_missing_file_is_named(tmp_path):
    for found in (text_parts, json_line_parts, parquet_parts):
        with pytest.raises(UserError, match="gone"):
            read(found([CorpusFile(str(tmp_path / "gone"), 3)], "text"))
    with pytest.raises(UserError, match="gone"):
        read(archive_parts([CorpusFile(str(tmp_path / "gone"), 3)]))


def test_each_member_of_an_archive_is_judged_by_itself(tmp_path):
    documents = make_documents(30)
    inner = archives(documents, 10)
    names = ["._x", "README", "empty", "a/1_data.xz", "a/note", "a/2.tar.gz", "a/3.tar", "z.zip"]
    second, third = gzip.compress(lzma.decompress(inner[1])), lzma.decompress(inner[2])
    contents = [b"\0\5\x16\7", b"read me", b"", inner[0], b"a note", second, third, b"PK\3\4..."]
    (tmp_path / "a.tar.zst").write_bytes(zstandard.compress(tar(contents, names)))
    found = list(archive_parts([file(tmp_path / "a.tar.zst")]))
    skipped, broken = Counter(), []
    read_all = [document for part in found for document in part.documents(skipped, broken.append)]
    assert read_all == [b"read me", b"", *documents[:10], b"a note", *documents[10:]]
    assert skipped == {"hidden archive member": 1}
    assert [str(error) for error in broken] == [
        f"{tmp_path}/a.tar.zst, archive 4 in it: zip among texts; unpack it, or take it out"
    ]
    with pytest.raises(UnreadableInput, match="zip among texts"):
        read(found)


def test_a_large_archive_in_an_archive_is_read_where_parts_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(openwebtext, "LARGEST_INNER", 100)
    documents = make_documents(20)
    whole = archives(documents, 10)
    (tmp_path / "a.tar").write_bytes(tar([b"first", whole[0], whole[1][:-60], b"last"]))
    broken: list[UnreadableInput] = []
    found = [
        text for part in archive_parts([file(tmp_path / "a.tar")]) for text in part.documents(Counter(), broken.append)
    ]
    assert found[:11] == [b"first", *documents[:10]] and found[-1] == b"last"
    assert len(broken) == 1 and "archive 2 in it: ends too early" in str(broken[0])


@pytest.mark.parametrize("kind", ["xz", "gzip", "zstd", "bzip2", "tar", "zip"])
def test_an_archive_among_texts_is_told_of_and_the_others_are_read(tmp_path, kind):
    content = {
        "xz": lzma.compress(b"a"), "gzip": gzip.compress(b"a"), "zstd": zstandard.compress(b"a"),
        "bzip2": bz2.compress(b"a"), "tar": tar([b"a"]), "zip": b"PK\3\4",
    }[kind]  # fmt: skip
    for name, text in (("1.txt", b"one"), ("2.txt", content), ("3.TXT", b"three")):
        (tmp_path / name).write_bytes(text)
    (tmp_path / "x_data.xz").write_bytes(lzma.compress(tar([b"one", content, b"three"])))
    for found in (
        text_parts((file(path) for path in sorted(tmp_path.glob("[0-9]*"))), False),
        archive_parts([file(tmp_path / "x_data.xz")]),
    ):
        [part] = found
        broken: list[UnreadableInput] = []
        assert list(part.documents(Counter(), broken.append)) == [b"one", b"three"]
        assert len(broken) == 1 and f": {kind} among texts; unpack it" in str(broken[0])
        with pytest.raises(UnreadableInput, match="among texts"):
            list(part.documents(Counter()))


def test_an_archive_that_expands_beyond_the_limit_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", 10_000)
    (tmp_path / "a_data.xz").write_bytes(lzma.compress(tar([bytes(3000)] * 4)))
    [part] = archive_parts([file(tmp_path / "a_data.xz")])
    with pytest.raises(UnreadableInput, match="of text, the most of an archive that is read as one piece; unpack it"):
        list(part.documents(Counter()))


def test_a_cell_that_is_too_long_is_told_of_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "LONGEST_DOCUMENT", 1000)
    path = write_parquet(tmp_path, [b"one", b"a" * 1001, b"b" * 1000])
    found, broken = read_leniently(parquet_parts([file(path)], "text"))
    assert found == [b"one", b"b" * 1000] and len(broken) == 1


def test_the_checksums_of_parquet_pages_are_looked_at(tmp_path):
    path, texts = tmp_path / "a.parquet", [f"the {number} th text" for number in range(100)]
    parquet.write_table(
        pa.table({"text": texts}), path, write_page_checksum=True, compression="none", use_dictionary=False
    )
    assert len(read(parquet_parts([file(path)], "text"))) == 100
    content = path.read_bytes()
    assert content.count(b"the 57 th text") == 1
    path.write_bytes(content.replace(b"the 57 th text", b"the 58 th text"))
    with pytest.raises(UnreadableInput, match=r"not a Parquet file, or a damaged one .*CRC"):
        read(parquet_parts([file(path)], "text"))


def test_a_damaged_header_of_a_page_hides_no_rows(tmp_path):
    """The library takes some for the end of the column."""
    path, texts = tmp_path / "a.parquet", [f"{number} text" for number in range(20)]
    parquet.write_table(
        pa.table({"text": texts}), path, compression="none", use_dictionary=False, row_group_size=10,
        write_page_checksum=True,
    )  # fmt: skip
    whole, hidden = path.read_bytes(), 0
    second = whole.index(b"10 text")
    for place in range(second - 60, second):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            assert read(parquet_parts([file(path)], "text")) == [text.encode() for text in texts]
        except UnreadableInput as error:
            hidden += "10 of its 20 rows can be read, it is damaged" in str(error)
    assert hidden > 0


def test_what_is_before_the_damage_is_kept_where_it_is_skipped(tmp_path):
    path = write_jsonl(tmp_path, make_documents(50), ".gz")
    path.write_bytes(path.read_bytes()[:-20])
    broken: list[UnreadableInput] = []
    found = [
        text for part in json_line_parts([file(path)], "text") for text in part.documents(Counter(), broken.append)
    ]
    assert len(broken) == 1 and len(found) > 20 and found == make_documents(50)[: len(found)]


def test_lines_of_json_that_are_blank_to_the_eye_are_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\r\n\u00a0\n \u3000\r\n\n{"text": "b"}')
    skipped: Counter[str] = Counter()
    assert read(json_line_parts([file(path)], "text"), skipped) == [b"a", b"b"] and not skipped
