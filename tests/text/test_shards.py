"""What a writer was given is read back; a writer can be stopped anywhere; a damaged folder is refused by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.text import shards
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import ARRAYS, Data, Shard, ShardWriter, WriterPosition, open_data
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.text.layouts import make_documents, set_part_bytes, write_texts, write_vocabulary

DTYPE = np.dtype(np.uint16)


def batch(rng: np.random.Generator, documents: int) -> Shard:
    line_ends = np.cumsum(rng.integers(1, 9, documents * 3))
    return Shard(rng.integers(0, 999, line_ends[-1]).astype(DTYPE), line_ends, line_ends[2::3])


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 40))
@settings(deadline=None, max_examples=40)
def test_a_writer_goes_on_from_any_position(tmp_path_factory, sizes: list[int], stop: int, junk: int):
    """Whatever was written after the position, of which nobody took note, is gone."""
    batches = [batch(np.random.default_rng(number), size) for number, size in enumerate(sizes)]
    stop = min(stop, len(batches))
    whole, continued = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("continued")
    writer = ShardWriter(whole, "train", DTYPE)
    for one in batches:
        writer.append(one)
    hashes = writer.close_shard()

    first = ShardWriter(continued, "train", DTYPE)
    for one in batches[:stop]:
        first.append(one)
    position = first.position
    first.append(batch(np.random.default_rng(99), 4))
    first.close()
    for part in ARRAYS:
        with open(continued / f"train-00000.{part}.npy.bertsmith-partial", "ab") as file:
            file.write(b"x" * junk)
    assert position.is_on_disk(continued, "train", DTYPE)
    second = ShardWriter(continued, "train", DTYPE, position)
    for one in batches[stop:]:
        second.append(one)
    assert second.close_shard() == hashes
    assert files(continued) == files(whole)


def test_arrays_come_back_as_plain_numpy_files(tmp_path):
    one, two = batch(np.random.default_rng(0), 3), batch(np.random.default_rng(1), 2)
    writer = ShardWriter(tmp_path, "heldout", DTYPE)
    assert writer.close_shard() == {}
    writer.append(one)
    writer.append(two)
    assert sorted(writer.close_shard()) == sorted(f"heldout-00000.{part}.npy" for part in ARRAYS)
    tokens, lines, documents = (np.load(tmp_path / f"heldout-00000.{part}.npy") for part in ARRAYS)
    assert tokens.dtype == np.uint16 and lines.dtype == documents.dtype == np.uint32
    assert tokens.tolist() == [*one.tokens, *two.tokens]
    assert lines.tolist() == [*one.line_ends, *(two.line_ends + len(one.tokens))]
    assert documents.tolist() == [*one.document_ends, *(two.document_ends + len(one.tokens))]
    assert writer.position == WriterPosition(1)


def test_closing_is_done_again_after_a_crash_in_its_middle(tmp_path):
    writer = ShardWriter(tmp_path, "train", DTYPE)
    writer.append(batch(np.random.default_rng(0), 3))
    position, hashes = writer.position, writer.close_shard()
    before = files(tmp_path)
    (tmp_path / "train-00000.lines.npy").rename(tmp_path / "train-00000.lines.npy.bertsmith-partial")
    assert position.is_on_disk(tmp_path, "train", DTYPE)
    assert ShardWriter(tmp_path, "train", DTYPE, position).close_shard() == hashes
    assert files(tmp_path) == before


def test_a_file_that_a_power_cut_shortened_is_noticed(tmp_path):
    writer = ShardWriter(tmp_path, "train", DTYPE)
    writer.append(batch(np.random.default_rng(0), 3))
    writer.close()
    with open(tmp_path / "train-00000.lines.npy.bertsmith-partial", "r+b") as file:
        file.truncate(130)
    assert not writer.position.is_on_disk(tmp_path, "train", DTYPE)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Data:
    monkeypatch.setattr(shards, "SHARD_TOKENS", 500)
    set_part_bytes(monkeypatch, 1000)
    corpus = write_texts(tmp_path / "corpus", make_documents(60))
    vocab = write_vocabulary(tmp_path)
    recipe = PrepareRecipe(corpus=str(corpus), layout="text", vocab=str(vocab), workers=1, heldout_fraction=0.2)
    return prepare(recipe, tmp_path / "data")


def test_a_data_folder_says_what_it_holds(data):
    assert data.num_shards("train") > 2
    for split in ("train", "heldout"):
        found = [data.read(split, index) for index in range(data.num_shards(split))]
        assert sum(len(shard.tokens) for shard in found) == data.num_tokens(split)
        assert sum(len(shard.document_ends) for shard in found) == data.num_documents(split)
        assert all(isinstance(shard.tokens, np.memmap) for shard in found)
        for shard in found:
            assert shard.document_ends[-1] == shard.line_ends[-1] == len(shard.tokens)
    assert data.num_documents("train") + data.num_documents("heldout") == 60
    assert data.tokenizer.fingerprint == data.manifest["tokenizer"]["fingerprint"]
    data.verify()


def test_the_hash_is_of_the_content_and_not_of_the_place(data, tmp_path):
    moved = data.path.rename(tmp_path / "elsewhere")
    assert open_data(moved).hash == data.hash


def test_a_flipped_bit_is_found_and_named(data):
    path = data.path / "train-00001.tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-00001\.tokens\.npy: damaged .*--overwrite"):
        open_data(data.path).verify()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00", None])
def test_a_damaged_file_is_named_when_read(data, content):
    path = data.path / "train-00001.lines.npy"
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with pytest.raises(UserError, match=r"train-00001\.lines\.npy: damaged"):
        open_data(data.path).read("train", 1)


def test_a_missing_file_is_named_when_opened(data):
    (data.path / "train-00001.lines.npy").unlink()
    with pytest.raises(UserError, match=r"train-00001\.lines\.npy: damaged \(missing\)"):
        open_data(data.path)


def test_another_tokenizer_in_the_folder_is_noticed(data):
    vocabulary = write_vocabulary(data.path.parent / "other")
    vocabulary.write_text(vocabulary.read_text().replace("ba\n", "zz\n"))
    Tokenizer.load(vocabulary).save(data.path)
    with pytest.raises(UserError, match="damaged"):
        _ = open_data(data.path).tokenizer


def test_an_unfinished_folder_is_refused(data):
    (data.path / "manifest.json").unlink()
    with pytest.raises(UserError, match="not a finished data folder"):
        open_data(data.path)
