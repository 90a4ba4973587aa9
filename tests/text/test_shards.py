"""A data folder is read as what it says it holds; a damaged one is refused by name."""

import numpy as np
import pytest

from bertsmith.errors import UserError
from bertsmith.text import shards
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import Data, open_data
from bertsmith.tokenizers.tokenizer import Tokenizer
from tests.text.layouts import make_documents, set_part_bytes, write_texts, write_vocabulary


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
