"""Which files a corpus is, in which order, and what is said when there is none."""

import gzip
import os
import pickle
import shutil
import socket
from collections import Counter
from pathlib import Path

import fsspec
import pytest

from bertsmith.errors import UserError
from bertsmith.storage.manifests import write_manifest
from bertsmith.text.corpora import Corpus, CorpusRecipe, open_corpus
from tests.text import layouts
from tests.text.layouts import make_documents


def opened(path, layout: str, **more) -> Corpus:
    return open_corpus(CorpusRecipe(corpus=str(path), layout=layout, **more))


def documents(corpus: Corpus) -> list[bytes]:
    return [document for part in corpus.parts() for document in part.documents(Counter())]


TEXTS = make_documents(30)

WRITERS = {
    "openwebtext, the archive": ("openwebtext", layouts.write_openwebtext, {}),
    "openwebtext, the archives in it": ("openwebtext", layouts.write_archives, {}),
    "openwebtext, the texts": ("openwebtext", layouts.write_texts, {}),
    "text": ("text", layouts.write_texts, {}),
    "text, blank lines": ("text", layouts.write_blank_lines, {"documents": "blank_lines"}),
    "jsonl": ("jsonl", layouts.write_jsonl, {}),
    "jsonl.gz": ("jsonl", lambda folder, texts: layouts.write_jsonl(folder, texts, ".gz"), {}),
    "jsonl.xz": ("jsonl", lambda folder, texts: layouts.write_jsonl(folder, texts, ".xz"), {}),
    "jsonl.zst": (
        "jsonl",
        lambda folder, texts: layouts.write_jsonl(folder, texts, ".zst", "story"),
        {"field": "story"},
    ),
    "parquet": ("parquet", layouts.write_parquet, {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_holds_the_same_documents_by_path_folder_and_url(tmp_path, name: str):
    layout, write, more = WRITERS[name]
    path = write(tmp_path / "corpus", TEXTS)
    (tmp_path / "corpus" / "README.md").write_text("not text")
    (tmp_path / "corpus" / ".hidden.txt").write_text("not text either")
    for way in (path, tmp_path / "corpus", f"file://{path}", f"{tmp_path}/c*s/[!.R]*"):
        corpus = opened(way, layout, **more)
        assert documents(corpus) == TEXTS, way
        assert corpus.num_bytes == sum(file.stat().st_size for file in (tmp_path / "corpus").glob("[!.R]*"))


def test_links_to_folders_are_followed_and_none_is_entered_twice(tmp_path):
    layouts.write_texts(tmp_path / "elsewhere", TEXTS[:3])
    layouts.write_texts(tmp_path / "corpus", TEXTS[3:5])
    (tmp_path / "corpus" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "round").symlink_to(tmp_path / "corpus")
    assert sorted(documents(opened(tmp_path / "corpus", "text"))) == sorted(TEXTS[:5])


def test_what_is_made_of_a_corpus_is_no_part_of_it(tmp_path):
    path = layouts.write_texts(tmp_path / "corpus", TEXTS)
    plain = opened(path, "text").fingerprint
    for name in ("vocab.txt", "out/vocab.txt", "outer.txt"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("[PAD]")
    corpus = open_corpus(
        CorpusRecipe(corpus=str(path), layout="text"), [path / "out", path / "vocab.txt", path / "outer.txt"]
    )
    assert corpus.fingerprint == plain
    with pytest.raises(UserError, match="the corpus itself; choose another --out"):
        open_corpus(CorpusRecipe(corpus=str(path), layout="text"), [path])
    write_manifest(path / "out", "data", {})
    assert not any("/out/" in file.path for file in opened(path, "text").files), "made of it by an earlier command"
    (path / "out" / "manifest.json").unlink()
    assert len(opened(path, "text").files) == len(corpus.files) + 3


def test_a_url_of_another_file_system_is_read():
    with fsspec.open("memory://corpora/a/1.txt", "wb") as file:
        file.write(b"one")
    with fsspec.open("memory://corpora/b/2.txt", "wb") as file:
        file.write(b"two")
    assert documents(opened("memory://corpora", "text")) == [b"one", b"two"]
    assert documents(opened("memory://corpora/*/2.txt", "text")) == [b"two"]


@pytest.mark.parametrize(
    ("layout", "write"),
    [("jsonl", layouts.write_jsonl), ("parquet", layouts.write_parquet), ("openwebtext", layouts.write_archives)],
)
def test_parts_of_a_url_s_files_are_read_by_themselves(tmp_path, monkeypatch, layout, write):
    layouts.set_part_bytes(monkeypatch, 200)
    write(tmp_path, TEXTS * 4)
    for path in tmp_path.iterdir():
        with fsspec.open(f"memory://{layout}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    found = pickle.loads(pickle.dumps(list(opened(f"memory://{layout}", layout).parts())))
    assert len(found) > 1
    assert [document for part in found for document in part.documents(Counter())] == TEXTS * 4


def test_the_order_is_that_of_names(tmp_path):
    for name in ("b/2.txt", "b/10.txt", "a.txt", "b/c/1.txt", "A.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    found = [document.decode() for document in documents(opened(tmp_path, "text"))]
    assert found == ["A.txt", "a.txt", "b/10.txt", "b/2.txt", "b/c/1.txt"]


def test_archives_beside_their_archive_are_not_read_twice(tmp_path):
    layouts.write_openwebtext(tmp_path, TEXTS)
    layouts.write_archives(tmp_path, TEXTS)
    layouts.write_texts(tmp_path, TEXTS)
    assert documents(opened(tmp_path, "openwebtext")) == TEXTS


def test_a_file_is_taken_at_its_word(tmp_path):
    (tmp_path / "notes.md").write_bytes(b"a note")
    assert documents(opened(tmp_path / "notes.md", "text")) == [b"a note"]


def test_the_fingerprint_moves_with_the_folder_and_changes_with_what_is_in_it(tmp_path):
    folder = layouts.write_texts(tmp_path / "one", TEXTS)
    before = opened(folder, "text").fingerprint
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert opened(moved, "text").fingerprint == opened(f"file://{moved}", "text").fingerprint == before
    (tmp_path / "elsewhere" / "00003.txt").write_bytes(b"other")
    assert opened(moved, "text").fingerprint != before


def test_nothing_there_is_said_with_the_path_and_what_is_wanted(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such file or folder; set corpus="):
        opened(tmp_path / "nowhere", "text")
    with pytest.raises(UserError, match=r"no file; layout = 'jsonl' reads \*\.jsonl, "):
        opened(tmp_path, "jsonl")
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(UserError, match=r"1 files, such as a\.csv; layout = 'openwebtext' reads \*_data\.xz, "):
        opened(tmp_path, "openwebtext")
    with pytest.raises(UserError, match="memory://nothing: nothing there"):
        opened("memory://nothing", "text")
    with pytest.raises(UserError, match=r"zip9://x: Protocol not known: zip9"):
        opened("zip9://x", "text")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        opened(tmp_path, "text")


def test_endings_are_read_in_any_case_and_what_is_passed_over_is_counted(tmp_path):
    names = ["a.TXT", "b.txt", "c.md", "d.md", "e.txt.gz", "README", ".hidden.txt", "sub/F.Txt", "sub/g.txt~"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "pipe.txt")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.txt"))
    (tmp_path / "null.txt").symlink_to("/dev/zero")
    corpus = opened(tmp_path, "text")
    server.close()
    assert documents(corpus) == [b"a.TXT", b"b.txt", b"sub/F.Txt"]
    assert corpus.passed_over == {
        "*.md": 2, "*.txt.gz": 1, "without an ending": 1, "hidden": 1, "*.txt~": 1, "pipe, device or socket": 3,
    }  # fmt: skip
    said: list[str] = []
    corpus.report_passed_over(said.append)
    assert said[0].startswith(f"{tmp_path}: passed over: 3 pipe, device or socket, 2 *.md, 1 ")


@pytest.mark.parametrize("layout", ["text", "jsonl", "parquet", "openwebtext"])
def test_a_pipe_is_never_opened(tmp_path, layout):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: neither a file nor a folder"):
        opened(tmp_path / "pipe", layout)
    with pytest.raises(UserError, match="/dev/zero: neither a file nor a folder"):
        opened(Path("/dev/zero"), layout)


@pytest.mark.parametrize(
    ("name", "layout"), [("A.JSONL.ZST", "jsonl"), ("B.Parquet", "parquet"), ("C.TAR.GZ", "openwebtext")]
)
def test_every_layout_reads_endings_in_any_case(tmp_path, name, layout):
    write = {
        "jsonl": lambda folder: layouts.write_jsonl(folder, TEXTS, ".zst"),
        "parquet": lambda folder: layouts.write_parquet(folder, TEXTS),
    }
    if layout == "openwebtext":
        (tmp_path / name).write_bytes(gzip.compress(layouts.tar(TEXTS)))
    else:
        write[layout](tmp_path / "other").rename(tmp_path / name)
        (tmp_path / "other").rmdir()
    assert documents(opened(tmp_path, layout)) == TEXTS
