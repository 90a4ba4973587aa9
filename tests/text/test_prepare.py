"""A corpus becomes the same folder however the work is killed or parallel; bad input leaves nothing half-made."""

import errno
import fcntl
import json
import lzma
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.text import journal, journal_lines, pieces, shards
from bertsmith.text.part_encoder import PartEncoder
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.text import layouts
from tests.text.layouts import make_documents, recipe

DOCUMENTS = make_documents(90)


@pytest.fixture
def small(monkeypatch):
    """Parts and shards so small that a small corpus has many."""
    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_every_document_once_in_the_corpus_order(tmp_path, small):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    data = prepare(recipe(tmp_path, corpus), tmp_path / "data")
    assert data.manifest["counts"]["documents"] == len(DOCUMENTS)
    assert data.num_shards("train") > 2 and data.num_shards("heldout") > 0
    expected = [data.tokenizer.encode_batch([document])[0].tolist() for document in DOCUMENTS]
    found = {}
    for split in shards.SPLITS:
        texts = []
        for index in range(data.num_shards(split)):
            shard = data.read(split, index)
            texts += [part.tolist() for part in np.split(shard.tokens, shard.document_ends[:-1])]
        found[split] = texts
        assert texts == [text for text in expected if text in texts]
    assert len(found["train"]) + len(found["heldout"]) == len(DOCUMENTS)
    data.verify()


def test_every_layout_gives_the_same_shards(tmp_path):
    out = []
    for layout, write, more in (
        ("text", layouts.write_texts, ()),
        ("text", layouts.write_blank_lines, ("documents=blank_lines",)),
        ("openwebtext", layouts.write_openwebtext, ()),
        ("openwebtext", layouts.write_archives, ()),
        ("jsonl", layouts.write_jsonl, ()),
        ("parquet", layouts.write_parquet, ()),
    ):
        folder = tmp_path / str(len(out))
        corpus = write(folder / "corpus", DOCUMENTS)
        out.append(prepare(recipe(tmp_path, corpus, *more, layout=layout), folder / "data"))
    assert len({data.hash for data in out}) == 1


@pytest.mark.parametrize(
    ("layout", "write"),
    [("openwebtext", layouts.write_archives), ("jsonl", layouts.write_jsonl), ("parquet", layouts.write_parquet)],
)
def test_the_same_bytes_for_any_number_of_workers(tmp_path, small, layout, write):
    corpus = write(tmp_path / "corpus", make_documents(300))
    one = prepare(recipe(tmp_path, corpus, layout=layout), tmp_path / "one")
    three = prepare(recipe(tmp_path, corpus, "workers=3", layout=layout), tmp_path / "three")
    assert one.num_shards("train") > 4
    assert content(one.path) == content(three.path)


def test_shards_are_as_version_0_1_0_wrote_them(tmp_path, small):
    """Hashes of what its one writer made, part after part."""
    documents = make_documents(300)
    for layout, write, known in (
        ("text", layouts.write_texts, "49e3386e521592bd5e374fb62fac5b3223a5ecf2deae627d57ea1626d8d0dc62"),
        ("openwebtext", layouts.write_archives, "d82308f92ec10b7a0c7a756fca608d8414ca5006cc41eda3911bfef23efd36c4"),
        ("jsonl", layouts.write_jsonl, "588a06f693ab31860920f127b7c71807ad2ca3c0eb32966a0bf953690b904c11"),
    ):
        corpus = write(tmp_path / layout, documents)
        assert prepare(recipe(tmp_path, corpus, layout=layout), tmp_path / f"{layout}-data").hash == known


KILLED = """
import os, sys
from pathlib import Path
from bertsmith.config.loading import load
from bertsmith.text import journal, pieces, shards
from bertsmith.text.layouts import layout
from bertsmith.text.prepare import PrepareRecipe, prepare

layout.PART_BYTES, shards.SHARD_TOKENS, journal.SYNC_SECONDS = 2000, 1500, 0.0
left, torn = int(sys.argv[1]), sys.argv[2] == "torn"

def dying(function, write=None):
    def call(*arguments, **more):
        global left
        left -= 1
        if left == 0:
            if torn and write:
                write(*arguments)
            os.kill(os.getpid(), 9)
        return function(*arguments, **more)
    return call

pieces._write = dying(pieces._write, lambda file, content: file.write(memoryview(content).cast("B")[:9]))
journal.Journal._note = dying(journal.Journal._note, lambda book, line: book._file.write(b'{"lengths": {"tr'))
Path.replace = dying(Path.replace)
Path.unlink = dying(Path.unlink)
prepare(load(PrepareRecipe, "prepare", "text", sys.argv[4:]).settings, Path(sys.argv[3]))
"""


def test_killed_anywhere_and_started_again_it_ends_with_the_same_bytes(tmp_path, small):
    """At each of several writes, renames and removals, before it or in its middle; then again, until it is through."""
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    settings = [f"corpus={corpus}", f"vocab={layouts.write_vocabulary(tmp_path)}", "workers=1", "heldout_fraction=0.2"]
    whole = prepare(load(PrepareRecipe, "prepare", "text", settings).settings, tmp_path / "whole")
    rng, out, deaths = random.Random(0), tmp_path / "out", 0
    for _ in range(30):
        arguments = [str(rng.randint(1, 100)), rng.choice(["torn", "clean"]), str(out), *settings]
        ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        deaths += ended.returncode != 0
        if ended.returncode == 0:
            break
    assert deaths >= 4
    assert content(out) == content(whole.path)


def test_killed_at_any_moment_with_workers_none_stays_and_the_bytes_are_the_same(tmp_path):
    corpus = layouts.write_archives(tmp_path / "corpus", make_documents(1500), each=50)
    vocab = layouts.write_vocabulary(tmp_path)
    settings = [f"corpus={corpus}", f"vocab={vocab}", "workers=2", "heldout_fraction=0.2"]
    whole = prepare(recipe(tmp_path, corpus, layout="openwebtext"), tmp_path / "whole")
    command = [sys.executable, "-m", "bertsmith", "prepare", "openwebtext", *settings, "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True) as process:
        wait_until(lambda: (tmp_path / "out" / journal.JOURNAL_FILE).exists() and children(process.pid))
        workers = children(process.pid)
        time.sleep(0.3)
        process.kill()
    wait_until(lambda: not any(Path("/proc", str(worker)).exists() for worker in workers))
    data = prepare(recipe(tmp_path, corpus, layout="openwebtext"), tmp_path / "out")
    assert content(data.path) == content(whole.path)


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_power_cut_that_kept_the_journal_and_lost_data_costs_only_the_lost_parts(tmp_path, small, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    whole = prepare(recipe(tmp_path, corpus), tmp_path / "whole")
    out = interrupted(tmp_path, corpus, monkeypatch, after=11)
    assert list(out.glob("train-*.tokens.npy")), "a shard is closed, whose pieces are gone"
    left = sorted(path for path in (out / pieces.PIECES_FOLDER).iterdir() if path.suffix in (".train", ".heldout"))
    lost = [left[0], left[-1]]
    os.truncate(lost[0], lost[0].stat().st_size - 1)
    lost[1].unlink()
    encode, encoded = PartEncoder.encode, []

    def count(encoder, number, part):
        encoded.append(number)
        return encode(encoder, number, part)

    monkeypatch.setattr(PartEncoder, "encode", count)
    assert content(prepare(recipe(tmp_path, corpus), out).path) == content(whole.path)
    again = sorted({int(path.stem) for path in lost})
    assert encoded[: len(again) + 1] == [*again, 11]


def test_a_lost_part_that_has_changed_is_refused(tmp_path, small, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    out = interrupted(tmp_path, corpus, monkeypatch, after=1)
    for path in (out / pieces.PIECES_FOLDER).glob("00000000.*"):
        path.unlink()
    first = corpus / "00000.txt"
    first.write_bytes(b"." * first.stat().st_size)
    with pytest.raises(UserError, match=r"00000\.txt: has changed since it was read; start again with --overwrite"):
        prepare(recipe(tmp_path, corpus), out)
    again = prepare(recipe(tmp_path, corpus), out, overwrite=True)
    assert content(again.path) == content(prepare(recipe(tmp_path, corpus), tmp_path / "whole").path)


def test_what_an_earlier_version_began_is_refused_and_overwritten(tmp_path, small, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    whole = prepare(recipe(tmp_path, corpus), tmp_path / "whole")
    out = tmp_path / "out"
    out.mkdir()
    identity = whole.manifest["identity"]
    head = {"kind": journal_lines.JOURNAL, "format_version": 1, "bertsmith_version": "0.0.9", "identity": identity}
    line = {"positions": {"train": [1, [5, 2, 1]], "heldout": [0, [0, 0, 0]]}, "counts": {}, "skipped": {}}
    lines, before = [], ""
    for entry in (head, line):
        text, before = journal_lines.summed_line(entry, before)
        lines.append(text.decode())
    (out / journal.JOURNAL_FILE).write_text("".join(lines))
    for name in ("train-00000.tokens.npy", "train-00001.tokens.npy.bertsmith-partial", "train-00002.lines.npy"):
        (out / name).write_bytes(b"earlier")
    with pytest.raises(UserError, match=r"out: begun by bertsmith 0\.0\.9, .*--overwrite"):
        prepare(recipe(tmp_path, corpus), out)
    (out / "notes.md").write_text("mine")
    again = prepare(recipe(tmp_path, corpus), out, overwrite=True)
    assert content(again.path) == content(whole.path) | {"notes.md": b"mine"}


def interrupted(tmp_path: Path, corpus: Path, monkeypatch, after: int) -> Path:
    """A folder left by Ctrl-C after so many parts."""
    commit = journal.Journal.commit

    def stop(book, *arguments):
        commit(book, *arguments)
        if book.done.parts == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(journal.Journal, "commit", stop)
        prepare(recipe(tmp_path, corpus), tmp_path / "out")
    return tmp_path / "out"


def test_again_with_the_same_arguments_it_is_found_done(tmp_path, capsys):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    first = prepare(recipe(tmp_path, corpus), tmp_path / "data")
    before = {path.name: path.stat().st_mtime_ns for path in first.path.glob("*.npy")}
    moved = corpus.rename(tmp_path / "moved")
    again = prepare(recipe(tmp_path, moved, "workers=2", "on_error=skip"), tmp_path / "data")
    assert again.hash == first.hash
    assert {path.name: path.stat().st_mtime_ns for path in first.path.glob("*.npy")} == before


def test_other_settings_are_refused_by_name_finished_or_not(tmp_path, small, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    out = interrupted(tmp_path, corpus, monkeypatch, after=2)
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"other settings; .*--overwrite.*\nheldout_fraction: 0\.2 → 0\.3; lowercase: True"
        ):
            prepare(recipe(tmp_path, corpus, "heldout_fraction=0.3", "lowercase=false"), out)
        (corpus / "more.txt").write_bytes(b"more")
        with pytest.raises(UserError, match="corpus: "):
            prepare(recipe(tmp_path, corpus), out)
        (corpus / "more.txt").unlink()
        prepare(recipe(tmp_path, corpus), out)


def test_overwrite_starts_afresh_and_touches_nothing_else(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    first = prepare(recipe(tmp_path, corpus), tmp_path / "data")
    (first.path / "notes.md").write_text("mine")
    again = prepare(recipe(tmp_path, corpus, "heldout_fraction=0.5"), first.path, overwrite=True)
    assert again.num_documents("heldout") > first.num_documents("heldout")
    assert (first.path / "notes.md").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, overwrite):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    other = tmp_path / "model"
    layouts.write_vocabulary(other)
    before = content(other)
    with pytest.raises(UserError, match=r"not a data folder, there is vocab\.txt in it; choose another --out"):
        prepare(recipe(tmp_path, corpus), other, overwrite)
    (other / "manifest.json").write_text(json.dumps({"kind": "pretrain", "format_version": 1}))
    with pytest.raises(UserError, match="a pretrain folder where a data folder is needed"):
        prepare(recipe(tmp_path, corpus), other, overwrite)
    assert {name: content(other)[name] for name in before} == before


def test_it_says_what_to_expect_shows_a_row_and_counts_what_it_skips(tmp_path, capsys):
    corpus = layouts.write_texts(tmp_path / "corpus", [*DOCUMENTS, b"", b"\xff", b" \n"])
    data = prepare(recipe(tmp_path, corpus), tmp_path / "data")
    said = capsys.readouterr().err
    assert "93 files" in said and "expected: " in said and "MB of disk" in said and "with 1 worker\n" in said
    first = data.tokenizer.decode(data.tokenizer.encode_batch(DOCUMENTS[:1])[0])
    assert f"one row: {first[:40]}" in said
    assert "90 documents" in said and "skipped 2 empty, 1 not UTF-8" in said
    assert data.manifest["skipped"] == {"empty": 2, "not UTF-8": 1}


def broken_archives(folder: Path) -> Path:
    corpus = layouts.write_archives(folder / "corpus", DOCUMENTS, each=20)
    path = corpus / "urlsf_subset00-002_data.xz"
    path.write_bytes(path.read_bytes()[:-30])
    return corpus


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_archive_stops_and_with_skip_the_work_goes_on_from_there(tmp_path, workers):
    corpus = broken_archives(tmp_path)
    with pytest.raises(UserError, match=r"urlsf_subset00-002_data\.xz: .*truncated.* on_error=skip"):
        prepare(recipe(tmp_path, corpus, f"workers={workers}", layout="openwebtext"), tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()
    data = prepare(recipe(tmp_path, corpus, "on_error=skip", layout="openwebtext"), tmp_path / "data")
    assert data.manifest["counts"]["documents"] == 70
    assert data.manifest["skipped"] == {"broken archive": 1}
    fresh = prepare(recipe(tmp_path, corpus, "on_error=skip", layout="openwebtext"), tmp_path / "fresh")
    assert content(fresh.path) == content(data.path)


def test_the_single_archive_truncated(tmp_path):
    path = layouts.write_openwebtext(tmp_path / "corpus", DOCUMENTS, each=20)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"openwebtext\.tar\.xz: .*truncated"):
        prepare(recipe(tmp_path, path, layout="openwebtext"), tmp_path / "data")
    data = prepare(recipe(tmp_path, path, "on_error=skip", layout="openwebtext"), tmp_path / "data")
    assert data.manifest["skipped"] == {"broken archive": 1}
    assert data.manifest["counts"]["documents"] % 20 in (0, 10)


def test_hostile_names_write_nothing_anywhere(tmp_path):
    hostile = lzma.compress(layouts.tar([b"ba", b"ba"], ["ok.txt", "../../escaped.txt"]))
    corpus = tmp_path / "deep" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "urlsf_subset00-0_data.xz").write_bytes(hostile)
    with pytest.raises(UserError, match=r"member '\.\./\.\./escaped\.txt' leads out of the archive's folder"):
        prepare(recipe(tmp_path, corpus, layout="openwebtext"), tmp_path / "data")
    assert not list(tmp_path.rglob("escaped.txt")) and not (tmp_path / "data").exists()


@pytest.mark.parametrize("texts", [[], [b""], [b"\xff\xff", b" \n "]])
def test_a_corpus_without_a_usable_document_is_refused_and_leaves_nothing(tmp_path, texts):
    corpus = layouts.write_jsonl(tmp_path / "corpus", [text for text in texts if text.isascii()])
    with pytest.raises(UserError, match=r"corpus\.jsonl: no usable document"):
        prepare(recipe(tmp_path, corpus, layout="jsonl"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_wrong_field_is_told_by_what_was_skipped(tmp_path):
    corpus = layouts.write_jsonl(tmp_path / "corpus", DOCUMENTS)
    with pytest.raises(
        UserError, match=r"no usable document \(90 no text in field 'story'\); check corpus, layout and field"
    ):
        prepare(recipe(tmp_path, corpus, "field=story", layout="jsonl"), tmp_path / "data")


def test_bad_paths_leave_nothing(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    with pytest.raises(UserError, match="nowhere"):
        prepare(recipe(tmp_path, tmp_path / "nowhere"), tmp_path / "data")
    with pytest.raises(UserError, match=r"no-vocab\.txt"):
        prepare(recipe(tmp_path, corpus, f"vocab={tmp_path}/no-vocab.txt"), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        prepare(recipe(tmp_path, corpus), tmp_path / "file" / "data")


def test_a_folder_without_write_permission_is_named(tmp_path, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)

    def refuse(path, *arguments, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)  # as root, which tests may run as, every folder can be written
    with pytest.raises(UserError, match=r"data.*Permission denied"):
        prepare(recipe(tmp_path, corpus), tmp_path / "data")


def test_a_full_disk_is_said_in_a_line_and_the_work_goes_on_later(tmp_path, small, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    whole = prepare(recipe(tmp_path, corpus), tmp_path / "whole")
    write, written = pieces._write, Counter()

    def fill(file, content):
        written["bytes"] += len(content)
        if written["bytes"] > 9000:
            write(file, bytes(memoryview(content).cast("B"))[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"out: No space left on device; free some room, then"),
    ):
        patch.setattr(pieces, "_write", fill)
        prepare(recipe(tmp_path, corpus), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert content(prepare(recipe(tmp_path, corpus), tmp_path / "out").path) == content(whole.path)


def test_a_folder_in_use_is_refused(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by another bertsmith process"):
            prepare(recipe(tmp_path, corpus), tmp_path / "data")


def test_a_worker_that_is_killed_is_told(tmp_path, monkeypatch):
    corpus = layouts.write_archives(tmp_path / "corpus", make_documents(3000), each=30)
    check = Tokenizer.check_against_reference

    def kill_a_worker(tokenizer, sample):
        check(tokenizer, sample)
        multiprocessing.active_children()[0].kill()

    monkeypatch.setattr(Tokenizer, "check_against_reference", kill_a_worker)
    with pytest.raises(UserError, match="workers = 2: one was killed, perhaps for lack of memory; use fewer"):
        prepare(recipe(tmp_path, corpus, "workers=2", layout="openwebtext"), tmp_path / "data")


LONG = """
import sys
from pathlib import Path
from bertsmith.config.loading import load
from bertsmith.memory import peak_bytes
from bertsmith.text.prepare import PrepareRecipe, prepare
before = peak_bytes()
data = prepare(load(PrepareRecipe, "prepare", "text", sys.argv[2:]).settings, Path(sys.argv[1]))
print(peak_bytes() - before, *data.manifest["counts"].values())
"""


def test_a_line_of_100_mb_takes_bounded_memory(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_bytes(b"bate " * 20_000_000)
    settings = [f"corpus={corpus}", f"vocab={layouts.write_vocabulary(tmp_path)}", "workers=1"]
    command = [sys.executable, "-c", LONG, str(tmp_path / "data"), *settings]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, documents, lines, tokens, _ = map(int, ended.stdout.split())
    assert memory < 500_000_000, "bytes beyond what the imports take"
    assert (documents, lines, tokens) == (1, 1, 40_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "archive", "lines"])
def test_a_worker_takes_at_most_a_gigabyte_of_the_largest_pieces(tmp_path, kind):
    """A token a byte, and JSON of empty lists, are what takes most."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    if kind == "text":
        (corpus / "a.txt").write_bytes(b"." * (128 << 20))
        layout = "text"
    elif kind == "archive":
        (corpus / "a_data.xz").write_bytes(lzma.compress(layouts.tar([b"." * (64 << 20)] * 2), preset=0))
        layout = "openwebtext"
    else:
        (corpus / "a.jsonl").write_bytes(b'{"text": "ba", "other": [' + b"[]," * ((31 << 20) // 3) + b"1]}\n")
        layout = "jsonl"
    settings = [f"corpus={corpus}", f"vocab={layouts.write_vocabulary(tmp_path)}", "workers=1", "heldout_fraction=0"]
    program = LONG.replace('"text", sys.argv', f'"{layout}", sys.argv').replace(" - before", "")
    command = [sys.executable, "-c", program, str(tmp_path / "data"), *settings]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, documents, _, tokens, _ = map(int, ended.stdout.split())
    assert memory < 1 << 30, "bytes"
    assert (documents, tokens) == {"text": (1, 128 << 20), "archive": (2, 128 << 20), "lines": (1, 1)}[kind]
