"""A corpus prepared in parts, each by a process that knows nothing of the others, is the data of one machine."""

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.storage.files import OTHER_FILES
from bertsmith.text import pieces, shards
from bertsmith.text.corpora import CorpusRecipe, open_corpus
from bertsmith.text.layouts import json_lines
from bertsmith.text.merging import MergeSettings, merge_shares
from bertsmith.text.prepare import prepare
from bertsmith.text.shards import Data, open_data
from bertsmith.text.shares import Share
from tests.text import layouts
from tests.text.layouts import content

DOCUMENTS = layouts.make_documents(300)
ONE = MergeSettings(workers=1)
recipe = partial(layouts.recipe, layout="jsonl")


@pytest.fixture
def small(monkeypatch):
    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)
    monkeypatch.setattr("bertsmith.text.compression.CHUNK_BYTES", 512)


@pytest.fixture
def parts(tmp_path, small) -> Path:
    """A corpus that was prepared in three parts, in `data`."""
    corpus = layouts.write_jsonl(tmp_path / "corpus", DOCUMENTS)
    for number in (2, 3, 1):
        prepare(recipe(tmp_path, corpus, f"part={number}/3"), tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("total", "layout", "write", "more"),
    [
        (3, "text", layouts.write_texts, ()),
        (3, "text", layouts.write_blank_lines, ("documents=blank_lines",)),
        (3, "openwebtext", layouts.write_openwebtext, ()),
        (3, "openwebtext", layouts.write_archives, ()),
        (3, "parquet", layouts.write_parquet, ()),
        (1, "jsonl", layouts.write_jsonl, ()),
        (15, "jsonl", layouts.write_jsonl, ()),
    ],
)
def test_merged_parts_are_the_bytes_of_one_machine(tmp_path, small, total, layout, write, more):
    corpus = write(tmp_path / "corpus", DOCUMENTS[:60])
    whole = prepare(recipe(tmp_path, corpus, *more, layout=layout), tmp_path / "whole")
    for number in range(1, total + 1):
        prepare(recipe(tmp_path, corpus, *more, f"part={number}/{total}", layout=layout), tmp_path / "data")
    merged = merge_shares(ONE, tmp_path / "data")
    assert whole.num_shards("train") > 1
    assert content(merged.path) == content(whole.path)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 900), min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 400))
def test_each_part_of_a_corpus_is_one_share_s(tmp_path_factory, sizes: list[int], total: int, part: int):
    folder = tmp_path_factory.mktemp("corpus")
    for number, size in enumerate(sizes):
        (folder / f"{number}.jsonl").write_bytes(b'{"text": "a"}\n' * (size // 14))
        (folder / f"{number}.txt").write_bytes(b"a\n\nb\n" * (size // 5))
    with pytest.MonkeyPatch.context() as patch:
        layouts.set_part_bytes(patch, part)
        patch.setattr("bertsmith.text.compression.CHUNK_BYTES", 16)
        for layout in ("jsonl", "text"):
            corpus = open_corpus(CorpusRecipe(corpus=str(folder), layout=layout, documents="blank_lines"))
            found = [each for number in range(total) for each in corpus.parts(Share(number + 1, total))]
            assert found == list(corpus.parts())


def test_files_of_other_parts_are_not_opened(tmp_path, monkeypatch):
    for number in range(4):
        layouts.write_jsonl(tmp_path / "corpus" / str(number), DOCUMENTS[:20])
    opened = Counter()
    monkeypatch.setattr(json_lines, "_line_ranges", lambda file: opened.update([file.path]) or iter(()))
    corpus = open_corpus(CorpusRecipe(corpus=str(tmp_path / "corpus"), layout="jsonl"))
    list(corpus.parts(Share(2, 4)))
    assert set(opened) == {str(tmp_path / "corpus" / "1" / "corpus.jsonl")}


def run(*arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "bertsmith", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_processes_that_know_nothing_of_each_other_and_one_that_merges(tmp_path):
    """As docs/scale.md has them in a SLURM job array. One of the two is killed once and started again."""
    corpus = layouts.write_archives(tmp_path / "corpus", layouts.make_documents(2000), each=20)
    vocab = layouts.write_vocabulary(tmp_path)
    common = ["prepare", "openwebtext", f"corpus={corpus}", f"vocab={vocab}", "workers=1", "heldout_fraction=0.2"]
    both = [run(*common, f"part={number}/2", "--out", tmp_path / "data") for number in (1, 2)]
    journal = tmp_path / "data" / "part-00001-of-00002" / "journal.jsonl"
    while both[0].poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
        time.sleep(0.002)
    both[0].send_signal(signal.SIGKILL)
    both[0].communicate()
    assert both[1].communicate()[0].endswith(f"next: bertsmith prepare merge --out {tmp_path / 'data'}\n")
    early = run("prepare", "merge", "--out", tmp_path / "data")
    assert "part-00001-of-00002: not finished; run its command (part=1/2) again\n" in early.communicate()[0]
    assert early.returncode == 2
    again = run(*common, "part=1/2", "--out", tmp_path / "data")
    assert "goes on after" in again.communicate()[0]
    merging = run("prepare", "merge", "workers=2", "--out", tmp_path / "data")
    said = merging.communicate()[0]
    assert merging.returncode == 0 and f"wrote {tmp_path / 'data'}: " in said and "next: bertsmith pretrain" in said
    whole = prepare(recipe(tmp_path, corpus, layout="openwebtext"), tmp_path / "whole")
    assert content(tmp_path / "data") == content(whole.path)
    for folder in (tmp_path / "data").glob("part-*"):
        shutil.rmtree(folder)
    assert prepare(recipe(tmp_path, corpus, layout="openwebtext"), tmp_path / "data").hash == whole.hash, "found done"


KILLED = """
import os, sys
from functools import partial
from pathlib import Path
from bertsmith.storage.files import OTHER_FILES
from bertsmith.text import pieces, shards
from bertsmith.text.journal import Journal
from bertsmith.text.merging import MergeSettings, merge_shares

shards.SHARD_TOKENS, left = 1500, int(sys.argv[1])

def dying(function):
    def call(*arguments, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **more)
    return call

pieces._write, Journal._note = dying(pieces._write), dying(Journal._note)
Path.replace, Path.unlink = dying(Path.replace), dying(Path.unlink)
merge_shares(MergeSettings(workers=1), Path(sys.argv[2]))
"""


def test_a_merge_that_is_killed_goes_on_with_the_same_bytes(tmp_path, parts):
    corpus = tmp_path / "corpus" / "corpus.jsonl"
    whole = prepare(recipe(tmp_path, corpus), tmp_path / "whole")
    deaths = 0
    for left in (5, 40, 60, 25, 90, 3, 400):
        ended = subprocess.run([sys.executable, "-c", KILLED, str(left), str(parts)], capture_output=True, text=True)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        deaths += ended.returncode != 0
    assert deaths >= 4 and ended.returncode == 0
    assert content(parts) == content(whole.path)


def test_the_parts_stay_and_a_merge_is_found_done_or_made_anew(parts):
    first = merge_shares(ONE, parts)
    before = content(parts)
    assert merge_shares(ONE, parts).hash == first.hash
    assert content(merge_shares(ONE, parts, overwrite=True).path) == before
    assert sorted(path.name for path in parts.glob("part-*")) == [f"part-0000{number}-of-00003" for number in (1, 2, 3)]


def test_a_merge_may_have_more_files_open_than_processes_have_by_default(parts, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 4, hard))  # two for each of three parts
    try:
        merge_shares(ONE, parts)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (3 * 2 + OTHER_FILES, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = content(parts)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 50))  # the second is the most
    with pytest.raises(UserError, match=r"70 files have to be open at a time, .* may have 10; raise .*ulimit -n 70"):
        merge_shares(ONE, parts, overwrite=True)
    assert content(parts) == before


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("17/16", r"part = '17/16': there is no such part; they are 1/16 to 16/16"),
        ("0/16", r"part = '0/16': there is no such part; they are 1/16 to 16/16"),
        ("3", r"part = '3': a part and the number of parts are wanted, as in part=3/16"),
        ("3/0", r"part = '3/0': a part and the number"),
        ("1/1000000", r"part = '1/1000000': a part and the number"),
        ("-1/4", r"part = '-1/4': a part and the number"),
    ],
)
def test_a_part_that_is_none_is_refused(tmp_path, part, reason):
    corpus = layouts.write_jsonl(tmp_path / "corpus", DOCUMENTS[:3])
    with pytest.raises(UserError, match=reason):
        prepare(recipe(tmp_path, corpus, f"part='{part}'"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_part_that_is_being_made_is_refused_to_others_and_to_a_merge(tmp_path, parts):
    with open(parts / "part-00002-of-00003" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"part-00002-of-00003: in use by another bertsmith process"):
            prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl", "part=2/3"), parts)
        with pytest.raises(UserError, match=r"part-00002-of-00003: in use by another bertsmith process"):
            merge_shares(ONE, parts)


def test_what_is_missing_is_named(tmp_path, parts):
    shutil.rmtree(parts / "part-00002-of-00003")
    with pytest.raises(UserError, match=r"data: no part 2/3; prepare what is missing, or bring its folder here"):
        merge_shares(ONE, parts)
    (parts / "part-00001-of-00002").mkdir()
    with pytest.raises(UserError, match=r"data: there are parts of 2 and of 3; move those of one number elsewhere"):
        merge_shares(ONE, parts)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no part is here"):
        merge_shares(ONE, tmp_path / "empty")
    with pytest.raises(UserError, match=r"none: no such folder"):
        merge_shares(ONE, tmp_path / "none")
    assert not (parts / "manifest.json").exists() and not (parts / "journal.jsonl").exists()


def test_parts_that_do_not_fit_together_are_named(tmp_path, parts):
    second = parts / "part-00002-of-00003"
    kept = json.loads((second / "manifest.json").read_text())

    def change(**values) -> None:
        (second / "manifest.json").write_text(json.dumps(kept | values))

    change(bertsmith_version="0.0.9")
    with pytest.raises(UserError, match=r"part-00002-of-00003: made by bertsmith 0\.0\.9, and part 1 by .*one version"):
        merge_shares(ONE, parts)
    change(identity=kept["identity"] | {"vocab": "1234"})
    with pytest.raises(
        UserError, match=r"part-00002-of-00003: made with other settings than part 1.*\nvocab: .* → '12"
    ):
        merge_shares(ONE, parts)
    change(part=[3, 3])
    with pytest.raises(UserError, match=r"part-00002-of-00003: is part 3/3, not 2/3; give it its name"):
        merge_shares(ONE, parts)
    for units in ([], [[1, 1]], [[-1, 1, 1]], [*kept["units"]["train"], [1, 1, 1]]):
        change(units=kept["units"] | {"train": units})
        with pytest.raises(UserError, match=r"part-00002-of-00003: its manifest does not agree with itself"):
            merge_shares(ONE, parts)
        merge_shares_leaves_nothing(parts)
    change()
    tokens = second / "train-00000.tokens.npy"
    os.truncate(tokens, tokens.stat().st_size - 2)
    with pytest.raises(UserError, match=r"part-00002-of-00003.train-00000\.tokens\.npy: damaged"):
        merge_shares(ONE, parts)
    shutil.rmtree(second)
    prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl", "part=2/3", "heldout_fraction=0.3"), parts)
    with pytest.raises(UserError, match=r"made with other settings than part 1.*\nheldout_fraction: 0\.2 → 0\.3"):
        merge_shares(ONE, parts)
    prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl", "part=2/3"), parts, overwrite=True)
    whole = prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl"), tmp_path / "whole")
    assert content(merge_shares(ONE, parts).path) == content(whole.path)


def test_a_damaged_tokenizer_of_the_first_part_is_named(parts):
    path = parts / "part-00001-of-00003" / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"##ba", b"##bx"))
    with pytest.raises(UserError, match=r"part-00001-of-00003.tokenizer\.json: damaged"):
        merge_shares(ONE, parts)
    merge_shares_leaves_nothing(parts)


def merge_shares_leaves_nothing(folder: Path) -> None:
    assert not (folder / "manifest.json").exists() and not list(folder.glob("*.npy"))


def test_a_part_is_no_data_to_train_on_and_other_folders_are_left_alone(tmp_path, parts):
    with pytest.raises(UserError, match="a data-part folder where a data folder is needed"):
        open_data(parts / "part-00001-of-00003")
    with pytest.raises(UserError, match=r"data: not a data folder, there is part-00001-of-00003 in it"):
        prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl"), parts)
    other = tmp_path / "other"
    layouts.write_vocabulary(other)
    for act in (
        lambda: prepare(recipe(tmp_path, tmp_path / "corpus" / "corpus.jsonl", "part=1/3"), other),
        lambda: merge_shares(ONE, other),
    ):
        with pytest.raises(UserError, match=r"other: not a folder of parts, there is vocab\.txt in it"):
            act()
    assert [path.name for path in other.iterdir() if path.name != ".lock"] == ["vocab.txt"]


def test_parts_without_a_document_merge_too(tmp_path, small):
    corpus = layouts.write_jsonl(tmp_path / "corpus", [b"ba be bi", b""])
    for number in range(1, 6):
        data = prepare(recipe(tmp_path, corpus, f"part={number}/5"), tmp_path / "data")
        assert isinstance(data, Data) and sum(map(data.num_documents, shards.SPLITS)) == int(number == 1)
    merged = merge_shares(ONE, tmp_path / "data")
    assert content(merged.path) == content(prepare(recipe(tmp_path, corpus), tmp_path / "whole").path)
    empty = layouts.write_jsonl(tmp_path / "empty", [b"", b" "])
    prepare(recipe(tmp_path, empty, "part=1/1"), tmp_path / "nothing")
    with pytest.raises(UserError, match="nothing: no part has a usable document"):
        merge_shares(ONE, tmp_path / "nothing")
    assert pieces.PIECES_FOLDER not in os.listdir(tmp_path / "data")
