"""A data folder's manifest and shards, and the journal of one that is being made: the tokens that were written, or a
refusal."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from attack import attack, few_and_many
from mutation import mutated, mutated_json

from bertsmith.cli.show import show
from bertsmith.config.loading import load
from bertsmith.storage.files import sha256_file
from bertsmith.text import journal, shards
from bertsmith.text.journal_lines import read_journal
from bertsmith.text.layouts import layout
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import ARRAYS, SPLITS, open_data, shard_file
from tests.toys import write_corpus, write_vocabulary


def recipe_of(folder: Path) -> PrepareRecipe:
    settings = [f"corpus={folder / 'corpus'}", f"vocab={folder / 'vocab.txt'}", "workers=1", "heldout_fraction=0.2"]
    return load(PrepareRecipe, "prepare", "text", settings).settings


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A finished data folder, one that was interrupted, and what they are made of."""
    folder = tmp_path_factory.mktemp("data-files")
    write_corpus(folder, documents=30)
    write_vocabulary(folder)
    commit = journal.Journal.commit

    def stop(book, *arguments):
        commit(book, *arguments)
        if book.done.parts == 6:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PART_BYTES", 400)
        patch.setattr(shards, "SHARD_TOKENS", 200)
        prepare(recipe_of(folder), folder / "data")
        patch.setattr(journal.Journal, "commit", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(recipe_of(folder), folder / "begun")
    assert len(list(read_journal(folder / "begun/journal.jsonl")[1])) > 5
    shutil.copytree(folder / "data", folder / "known")
    return folder


def read_data(folder: Path) -> None:
    data = open_data(folder / "data")
    for split in SPLITS:
        for index in range(data.num_shards(split)):
            shard = data.read(split, index)
            for part, array in zip(ARRAYS, (shard.tokens, shard.line_ends, shard.document_ends), strict=True):
                assert np.array_equal(array, np.load(folder / "known" / shard_file(split, index, part)))
    assert data.tokenizer.vocab_size == open_data(folder / "known", check=False).tokenizer.vocab_size
    show(str(folder / "data"))


def read_signed(folder: Path) -> None:
    """With hashes that fit: whatever is read is what a shard is."""
    manifest = json.loads((folder / "data/manifest.json").read_text())
    manifest["files"] = {name: sha256_file(folder / "data" / name) for name in manifest["files"]}
    (folder / "data/manifest.json").write_text(json.dumps(manifest))
    data = open_data(folder / "data")
    for index in range(data.num_shards("train")):
        shard = data.read("train", index)
        assert shard.tokens.dtype == np.uint16 and int(shard.tokens.max()) < data.tokenizer.vocab_size
        for ends in (shard.line_ends, shard.document_ends):
            assert ends.dtype == np.uint32 and ends[-1] == len(shard.tokens)
            assert (np.diff(ends.astype(np.int64)) > 0).all() and ends[0] > 0
        assert set(shard.document_ends.tolist()) <= set(shard.line_ends.tolist())


def go_on(folder: Path) -> None:
    """An interrupted preparation ends with the same bytes, or is refused."""
    layout.PART_BYTES, shards.SHARD_TOKENS = 400, 200
    data = prepare(recipe_of(folder), folder / "begun")
    for name, known in open_data(folder / "known", check=False).manifest["files"].items():
        assert sha256_file(data.path / name) == known, name


@few_and_many
def test_a_manifest(original: Path, examples: int, tmp_path: Path):
    content = (original / "data/manifest.json").read_bytes()
    attack(mutated(content), examples // 2, original, "data/manifest.json", read_data, tmp_path)
    attack(mutated_json(json.loads(content)), examples // 2, original, "data/manifest.json", read_data, tmp_path)


@few_and_many
@pytest.mark.parametrize("part", ARRAYS)
def test_a_shard(original: Path, part: str, examples: int, tmp_path: Path):
    name = f"data/{shard_file('train', 0, part)}"
    content = (original / name).read_bytes()
    attack(mutated(content), examples // 4, original, name, read_data, tmp_path)
    attack(mutated(content), examples, original, name, read_signed, tmp_path)


@few_and_many
def test_a_journal(original: Path, examples: int, tmp_path: Path):
    content = (original / "begun/journal.jsonl").read_bytes()
    attack(mutated(content), examples, original, "begun/journal.jsonl", go_on, tmp_path)
