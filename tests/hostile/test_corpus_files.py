"""Files of a corpus: what a checksum protects is read as it was or refused, the rest as another reader finds it."""

import bz2
import gzip
import json
import lzma
import random
import re
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from attack import attack, example, few_and_many
from mutation import mutated
from pyarrow import parquet

from bertsmith.text.compression import UnreadableInput
from bertsmith.text.layouts.json_lines import json_line_parts
from bertsmith.text.layouts.layout import CorpusFile
from bertsmith.text.layouts.openwebtext import archive_parts
from bertsmith.text.layouts.parquet import parquet_parts
from bertsmith.text.layouts.plain_text import text_parts
from tests.text.layouts import tar

COMPRESS = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}  # fmt: skip
rng = random.Random(0)
DOCUMENTS = [f"{rng.getrandbits(9000):x} {number}".encode() for number in range(4)]
"""Hardly compressible, so that no change repeats a whole file: several streams after each other are well-formed."""

CELLS = [document[:600] for document in DOCUMENTS]


def tar_of(contents: list[bytes], ending: str) -> bytes:
    names = [f"a/{'long' * 30}{number}{ending}" for number in range(len(contents))]
    return tar(contents, names, tarfile.PAX_FORMAT)


def documents_of(found) -> list[bytes]:
    """Leniently first, where nothing may be raised but of a part as a whole; then as it is by default."""
    found = list(found)
    broken: list[UnreadableInput] = []
    for part in found:
        try:
            list(part.documents(Counter(), broken.append))
        except UnreadableInput as error:
            broken.append(error)
    documents = [document for part in found for document in part.documents(Counter())]
    assert not broken, "what is broken is told of by default too"
    return documents


def file_in(folder: Path) -> CorpusFile:
    [path] = folder.iterdir()
    return CorpusFile(str(path), path.stat().st_size)


def read_archive(folder: Path) -> None:
    found = documents_of(archive_parts([file_in(folder)]))
    [path] = folder.iterdir()
    if path.suffix == ".tar":  # whose contents no checksum protects
        whole = path.read_bytes()
        assert all(document in whole for document in found)
    else:
        assert found == DOCUMENTS


def is_plain(content: bytes) -> bool:
    """Return whether a file is text whatever its name says: a beginning of a compressed one can be."""
    try:
        return bool(content) and not re.search("[\0-\x08\x0e-\x1f]", content.decode())
    except UnicodeDecodeError:
        return False


def read_json_lines(folder: Path) -> None:
    found = documents_of(json_line_parts([file_in(folder)], "text"))
    [path] = folder.iterdir()
    if path.suffix != ".jsonl" and not is_plain(path.read_bytes()):
        assert found == DOCUMENTS
        return
    expected = []
    for line in path.read_bytes().split(b"\n"):
        try:
            expected.append(json.loads(line)["text"].encode())
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            continue
    assert found == expected


def read_parquet(folder: Path) -> None:
    found = documents_of(parquet_parts([file_in(folder)], "text"))
    assert found == CELLS


def read_texts(folder: Path) -> None:
    [path] = folder.iterdir()
    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    expected, lines = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            expected.append("\n".join(lines).encode("utf-8", "surrogateescape").strip())
            lines = []
    assert documents_of(text_parts([file_in(folder)], blank_lines=True)) == expected


@few_and_many
@pytest.mark.parametrize("suffix", COMPRESS)
def test_archives(examples: int, suffix: str, tmp_path: Path):
    whole = COMPRESS[suffix](tar_of(DOCUMENTS, ".txt"))
    original = example(tmp_path, {f"a.tar{suffix}": whole})
    attack(mutated(whole), examples, original, f"a.tar{suffix}", read_archive, tmp_path)


@few_and_many
def test_archives_in_an_archive(examples: int, tmp_path: Path):
    inner = [lzma.compress(tar_of(DOCUMENTS[start : start + 2], ".txt")) for start in (0, 2)]
    whole = lzma.compress(tar_of(inner, "_data.xz"))
    original = example(tmp_path, {"openwebtext.tar.xz": whole})
    attack(mutated(whole), examples, original, "openwebtext.tar.xz", read_archive, tmp_path)


@few_and_many
@pytest.mark.parametrize("suffix", COMPRESS)
def test_json_lines(examples: int, suffix: str, tmp_path: Path):
    whole = COMPRESS[suffix](b"".join(b'{"text": "%s"}\n' % document for document in DOCUMENTS))
    original = example(tmp_path, {f"a.jsonl{suffix}": whole})
    attack(mutated(whole), examples, original, f"a.jsonl{suffix}", read_json_lines, tmp_path)


@few_and_many
def test_parquet(examples: int, tmp_path: Path):
    original = example(tmp_path, {})
    table = pa.table({"number": range(4), "text": [cell.decode() for cell in CELLS]})
    parquet.write_table(table, original / "a.parquet", row_group_size=2, write_page_checksum=True)
    attack(mutated((original / "a.parquet").read_bytes()), examples, original, "a.parquet", read_parquet, tmp_path)


@few_and_many
def test_texts(examples: int, tmp_path: Path):
    whole = "eins\nzwei\n\u00a0\n\ndrei\r\n\r\n\u3042\n\u201d\n \u2028\nvier\r\rf\u00fcnf\n\t\n".encode()
    original = example(tmp_path, {"a.txt": whole})
    attack(mutated(whole), examples, original, "a.txt", read_texts, tmp_path)
