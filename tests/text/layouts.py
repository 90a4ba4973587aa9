"""The same documents in every layout that `prepare` reads, and a small vocabulary for them."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import zstandard
from pyarrow import parquet

from bertsmith.config.loading import load
from bertsmith.text.layouts import layout
from bertsmith.text.prepare import PrepareRecipe

SYLLABLES = [first + second for first in "bdfgklmnprst" for second in "aeiou"]

COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress, ".bz2": bz2.compress}


def set_part_bytes(monkeypatch, size: int) -> None:
    """Cut corpora into parts of about `size` bytes."""
    monkeypatch.setattr(layout, "PART_BYTES", size)


def write_vocabulary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,[]", "mask", "sep", "cls", "é", *SYLLABLES]
    path.write_text("".join(f"{token}\n" for token in [*tokens, *(f"##{syllable}" for syllable in SYLLABLES)]))
    return path


def make_documents(count: int, seed: int = 0) -> list[bytes]:
    """Texts of 1 to 6 lines without blank lines, no two alike."""
    rng = random.Random(seed)
    documents = []
    for number in range(count):
        lines = []
        for _ in range(rng.randint(1, 6)):
            words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 30))]
            lines.append(" ".join(words) + " .")
        documents.append("\n".join([*lines, f"é {'ba' * (number % 7)} {number}"]).encode())
    return documents


def tar(contents: Sequence[bytes], names: Sequence[str] = (), form: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(names[number] if names else f"{number:07d}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def archives(documents: Sequence[bytes], each: int) -> list[bytes]:
    """OpenWebText's inner archives, with `each` documents in one."""
    return [lzma.compress(tar(documents[start : start + each])) for start in range(0, len(documents), each)]


def write_openwebtext(folder: Path, documents: Sequence[bytes], each: int = 10) -> Path:
    """The single archive."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = archives(documents, each)
    names = [f"openwebtext/urlsf_subset00-{number}_data.xz" for number in range(len(inner))]
    path = folder / "openwebtext.tar.xz"
    path.write_bytes(lzma.compress(tar(inner, names)))
    return path


def write_archives(folder: Path, documents: Sequence[bytes], each: int = 10) -> Path:
    """A folder of the inner archives."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(archives(documents, each)):
        (folder / f"urlsf_subset00-{number:03d}_data.xz").write_bytes(content)
    return folder


def write_texts(folder: Path, documents: Sequence[bytes]) -> Path:
    """A file per document."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, document in enumerate(documents):
        (folder / f"{number:05d}.txt").write_bytes(document)
    return folder


def write_blank_lines(folder: Path, documents: Sequence[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "corpus.txt"
    path.write_bytes(b"\n\n".join(documents) + b"\n")
    return path


def write_jsonl(folder: Path, documents: Sequence[bytes], suffix: str = "", field: str = "text") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"title": "t", field: document.decode()}) + "\n" for document in documents)
    path = folder / f"corpus.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](lines.encode()))
    return path


def write_parquet(folder: Path, documents: Sequence[bytes], column: str = "text") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"number": range(len(documents)), column: [document.decode() for document in documents]})
    path = folder / "train-00000-of-00001.parquet"
    parquet.write_table(table, path, row_group_size=7)
    return path


def recipe(folder: Path, corpus: Path, *more: str, layout: str = "text") -> PrepareRecipe:
    """Return a recipe that prepares `corpus`, with a vocabulary that is written into `folder` if none is there."""
    vocab = folder / "vocab.txt" if (folder / "vocab.txt").exists() else write_vocabulary(folder)
    values = [f"corpus={corpus}", f"vocab={vocab}", "workers=1", "heldout_fraction=0.2", *more]
    return load(PrepareRecipe, "prepare", layout, values).settings


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a data folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}
