"""A corpus in object storage, and a data folder there: the same bytes, and a line for what is wrong."""

import itertools
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bertsmith.errors import UserError
from bertsmith.text import shards, uploading
from bertsmith.text.corpora import CorpusSettings
from bertsmith.text.part_encoder import PartEncoder
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import open_data
from tests.text import layouts
from tests.text.layouts import make_documents

DOCUMENTS = make_documents(60)

WRITERS = {
    "openwebtext": layouts.write_openwebtext,
    "text": layouts.write_texts,
    "jsonl": layouts.write_jsonl,
    "parquet": layouts.write_parquet,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts and shards so small that a small corpus has many."""
    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)


def recipe(folder: Path, corpus: str | Path, layout: str = "text", **more) -> PrepareRecipe:
    vocab = folder / "vocab.txt" if (folder / "vocab.txt").exists() else layouts.write_vocabulary(folder)
    settings = {"workers": 1, "heldout_fraction": 0.2} | more
    return PrepareRecipe(corpus=str(corpus), layout=layout, vocab=str(vocab), **settings)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a data folder; of the manifest what does not name the corpus's place."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    return found | {"manifest.json": described(found["manifest.json"])}


def stored(storage, name: str) -> dict[str, bytes]:
    found = {each: storage.read(f"{name}/{each}") for each in storage.names(name)}
    return found | {"manifest.json": described(found["manifest.json"])}


def described(manifest: bytes) -> bytes:
    content = json.loads(manifest)
    del content["corpus"]["path"]
    return json.dumps(content).encode()


@pytest.mark.parametrize("layout", [pytest.param("text", marks=pytest.mark.slow), "openwebtext", "jsonl", "parquet"])
def test_from_storage_to_storage_the_bytes_are_those_of_disk(tmp_path, storage, layout):
    path = WRITERS[layout](tmp_path / "corpus", DOCUMENTS)
    expected = prepare(recipe(tmp_path, path, layout), tmp_path / "data")
    assert expected.num_shards("train") > 1
    address = storage.upload(tmp_path / "corpus", "corpus")
    times = itertools.count()
    storage.fault = lambda method, path: "cut" if "/corpus/" in path and next(times) % 4 == 0 else None
    data = prepare(recipe(tmp_path, address, layout), "s3://texts/mine")
    assert stored(storage, "mine") == contents(tmp_path / "data")
    assert data.hash == expected.hash and data.address == "s3://texts/mine"
    assert next(times) > 2
    storage.requests.clear()
    assert prepare(recipe(tmp_path, address, layout), "s3://texts/mine/").hash == expected.hash
    assert {method for method, _ in storage.requests} <= {"GET", "HEAD", "DELETE"}, "it was finished"


def test_several_corpora_from_storage_to_storage_are_the_bytes_of_disk(tmp_path, storage):
    layouts.write_jsonl(tmp_path / "web", DOCUMENTS)
    layouts.write_texts(tmp_path / "books", DOCUMENTS[:40])

    def several(*paths: object) -> PrepareRecipe:
        corpora = (CorpusSettings(path=str(paths[0])), CorpusSettings(path=str(paths[1]), layout="text"))
        return replace(recipe(tmp_path, tmp_path, "jsonl"), corpus=None, corpora=corpora)

    prepare(several(tmp_path / "web", tmp_path / "books"), tmp_path / "data")
    addresses = [storage.upload(tmp_path / name, name) for name in ("web", "books")]
    data = prepare(several(*addresses), "s3://texts/mine")
    there, here = stored(storage, "mine"), contents(tmp_path / "data")
    for name in addresses:
        there["manifest.json"] = there["manifest.json"].replace(name.encode(), b"")
        here["manifest.json"] = here["manifest.json"].replace(str(tmp_path / name.rpartition("/")[2]).encode(), b"")
    assert there == here
    assert list(data.corpora) == ["web", "books"]
    expected = open_data(tmp_path / "data").corpora["books"].read("train", 0)
    assert data.corpora["books"].read("train", 0).tokens.tolist() == expected.tokens.tolist()


def test_a_corpus_is_listed_once(tmp_path, storage):
    address = storage.upload(layouts.write_texts(tmp_path / "corpus", DOCUMENTS), "corpus")
    storage.requests.clear()
    prepare(recipe(tmp_path, address), tmp_path / "data")
    assert sum(path.rstrip("/") == "/texts" for method, path in storage.requests if method == "GET") == 1
    assert not [path for method, path in storage.requests if method == "HEAD"], "sizes are in the listing"


def test_an_archive_is_one_request(tmp_path, storage):
    lines = [f"{number} {random.Random(number).getrandbits(4000)}\n".encode() for number in range(800)]
    folder = layouts.write_archives(tmp_path / "corpus", lines, each=400)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert len(sizes) == 2 and min(sizes.values()) > 1 << 17, "several of the windows in which a long file is read"
    address = storage.upload(folder, "corpus")
    storage.requests.clear()
    prepare(recipe(tmp_path, address, "openwebtext"), tmp_path / "data")
    fetched = Counter(path for method, path in storage.requests if method == "GET" and "/corpus/" in path)
    assert fetched and max(fetched.values()) <= 2, "once for its sample, once for its documents"


class Stop(BaseException):
    """As a signal is raised."""


def stop_after(monkeypatch, number: int) -> list[int]:
    """Stop a preparation at its part of that number; return where the numbers of parts that are encoded are noted."""
    encode, seen = PartEncoder.encode, []

    def counted(self, part_number, part):
        if len(seen) == number:
            raise Stop
        seen.append(part_number)
        return encode(self, part_number, part)

    monkeypatch.setattr(PartEncoder, "encode", counted)
    return seen


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_stopped_goes_on_here_and_on_another_machine(tmp_path, storage, monkeypatch, elsewhere):
    monkeypatch.setattr(uploading, "COPY_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "MAX_COPY_SHARE", 1e9)
    layouts.set_part_bytes(monkeypatch, 700)
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    prepare(recipe(tmp_path, corpus), tmp_path / "data")
    with monkeypatch.context() as patch:
        before = stop_after(patch, 16)
        with pytest.raises(Stop):
            prepare(recipe(tmp_path, corpus), "s3://texts/mine")
    names = storage.names("mine")
    assert "train-00000.tokens.npy" in names and "manifest.json" not in names
    with pytest.raises(UserError, match=r"s3://texts/mine: not a finished data folder \(it has no manifest\.json\)"):
        open_data("s3://texts/mine")
    if elsewhere:
        shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match=r"^s3://texts/mine: made with other settings"):
        prepare(recipe(tmp_path, corpus, heldout_fraction=0.3), "s3://texts/mine")
    with monkeypatch.context() as patch:
        after = stop_after(patch, 10**6)
        prepare(recipe(tmp_path, corpus), "s3://texts/mine")
    again = set(before) & set(after)
    assert before == list(range(16)) and max(after) > 18
    assert (0 < len(again) < 16) if elsewhere else not again, "only what was in no shard that has its names"
    assert stored(storage, "mine") == contents(tmp_path / "data")
    assert [
        path for path in (tmp_path / "cache" / "prepare").rglob("*") if path.is_file() and path.name != ".lock"
    ] == []


def test_nothing_of_others_is_written_over_and_overwrite_removes_what_is_ours(tmp_path, storage):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    storage.write("mine/notes.txt", b"mine")
    with pytest.raises(UserError, match=r"s3://texts/mine: not a data folder, there is notes\.txt in it; choose"):
        prepare(recipe(tmp_path, corpus), "s3://texts/mine")
    with pytest.raises(UserError, match="not a data folder"):
        prepare(recipe(tmp_path, corpus), "s3://texts/mine", overwrite=True)
    prepare(recipe(tmp_path, corpus), "s3://texts/other")
    storage.write("other/notes.txt", b"mine")
    with pytest.raises(UserError, match=r"s3://texts/other: made with other settings; .*\nheldout_fraction: 0\.2 → 0"):
        prepare(recipe(tmp_path, corpus, heldout_fraction=0), "s3://texts/other")
    data = prepare(recipe(tmp_path, corpus, heldout_fraction=0), "s3://texts/other", overwrite=True)
    assert data.num_shards("heldout") == 0
    assert not any(name.startswith("heldout") for name in storage.names("other"))
    assert storage.read("other/notes.txt") == b"mine"


def test_what_is_wrong_is_a_line_and_nothing_is_lost(tmp_path, storage):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    address = storage.upload(corpus, "corpus")
    with pytest.raises(UserError, match=r"^s3://nowhere/data: no such bucket or object \(.*\); look at the address$"):
        prepare(recipe(tmp_path, corpus), "s3://nowhere/data")
    with pytest.raises(UserError, match=r"^s3://nowhere/x: no such bucket"):
        prepare(recipe(tmp_path, "s3://nowhere/x"), tmp_path / "data")
    with pytest.raises(UserError, match=r"^s3://texts/none: nothing there; set corpus="):
        prepare(recipe(tmp_path, "s3://texts/none"), tmp_path / "data")
    with pytest.raises(UserError, match=r"^--out s3://texts/x: a part is prepared in a local folder"):
        prepare(recipe(tmp_path, corpus, part="1/2"), "s3://texts/x")
    storage.fault = lambda method, path: "denied" if method == "PUT" else None
    with pytest.raises(
        UserError, match=r"^s3://texts/data/journal\.jsonl: no right to it \(.*Access ?Denied.*credentials"
    ):
        prepare(recipe(tmp_path, corpus), "s3://texts/data")
    storage.fault = lambda method, path: "denied" if path == "/texts" else None
    with pytest.raises(UserError, match=r"^s3://texts/corpus: no right to it"):
        prepare(recipe(tmp_path, address), tmp_path / "data")
    storage.fault = lambda method, path: None
    prepared = recipe(tmp_path, address)
    storage.fault = lambda method, path: "gone" if path.endswith("00007.txt") else None
    with pytest.raises(UserError, match=r"^s3://texts/corpus/00007\.txt: no such bucket or object"):
        prepare(prepared, "s3://texts/data")
    storage.fault = lambda method, path: "cut" if path.endswith("00007.txt") else None
    with pytest.raises(
        UserError, match=r"^s3://texts/corpus/00007\.txt: the connection failed \(.*look at the network"
    ):
        prepare(prepared, "s3://texts/data")
    storage.fault = lambda method, path: None
    prepare(prepared, "s3://texts/data")
    prepare(recipe(tmp_path, corpus), tmp_path / "data")
    assert stored(storage, "data") == contents(tmp_path / "data")


@pytest.mark.slow
def test_the_program_does_it_with_several_workers(tmp_path, storage):
    corpus = storage.upload(layouts.write_texts(tmp_path / "corpus", DOCUMENTS), "corpus")
    vocab = layouts.write_vocabulary(tmp_path)
    command = [sys.executable, "-m", "bertsmith", "prepare", "text", f"corpus={corpus}", f"vocab={vocab}", "workers=2"]

    def run(out) -> str:
        return subprocess.run([*command, "--out", out], capture_output=True, text=True, check=True).stdout

    run(tmp_path / "data")
    assert "wrote s3://texts/mine: " in run("s3://texts/mine")
    assert "s3://texts/mine was finished before" in run("s3://texts/mine")
    assert stored(storage, "mine") == contents(tmp_path / "data")
