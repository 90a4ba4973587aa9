"""A tokenizer folder is trained on a corpus, found again, and taken by `prepare` as its vocabulary."""

import re

import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.prepare import PrepareRecipe, prepare
from tests.text import layouts
from tests.text.layouts import make_documents

DOCUMENTS = make_documents(400)


def recipe(corpus, *more: str, layout: str = "text") -> TokenizerRecipe:
    return load(TokenizerRecipe, "prepare", layout, [f"corpus={corpus}", "size=200", *more]).settings


def test_a_trained_tokenizer_is_found_again_and_prepares(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    tokenizer = train_tokenizer(recipe(corpus), tmp_path / "vocab")
    assert 100 < tokenizer.vocab_size <= 200
    before = (tmp_path / "vocab" / "tokenizer.json").stat().st_mtime_ns
    assert train_tokenizer(recipe(corpus), tmp_path / "vocab").fingerprint == tokenizer.fingerprint
    assert (tmp_path / "vocab" / "tokenizer.json").stat().st_mtime_ns == before
    settings = [f"corpus={corpus}", f"vocab={tmp_path}/vocab", "workers=1"]
    data = prepare(load(PrepareRecipe, "prepare", "text", settings).settings, tmp_path / "data")
    assert data.tokenizer.fingerprint == tokenizer.fingerprint


def test_a_prepare_recipe_serves_as_it_is(tmp_path):
    corpus = layouts.write_jsonl(tmp_path / "corpus", DOCUMENTS)
    path = tmp_path / "mine.toml"
    path.write_text('layout = "jsonl"\nvocab = "not-there-yet.txt"\nheldout_fraction = 0.1\nworkers = 2\n')
    trained = train_tokenizer(recipe(corpus, layout=str(path)), tmp_path / "vocab")
    assert trained.vocab_size > 100


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)

    def full(*_):
        raise UserError("vocab/manifest.json: No space left on device")

    monkeypatch.setattr("bertsmith.text.learning.write_manifest", full)
    with pytest.raises(UserError, match="No space left"):
        train_tokenizer(recipe(corpus), tmp_path / "vocab")
    assert not (tmp_path / "vocab").exists()
    monkeypatch.undo()
    assert train_tokenizer(recipe(corpus), tmp_path / "vocab").vocab_size > 100


def test_other_settings_are_refused_and_overwrite_trains_anew(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", DOCUMENTS)
    train_tokenizer(recipe(corpus), tmp_path / "vocab")
    with pytest.raises(UserError, match="size: 200 → 150"):
        train_tokenizer(recipe(corpus, "size=150"), tmp_path / "vocab")
    assert train_tokenizer(recipe(corpus, "size=150"), tmp_path / "vocab", overwrite=True).vocab_size <= 150


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, overwrite):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "vocab.txt").write_text("mine")
    with pytest.raises(UserError, match=r"model: not a tokenizer folder, there is vocab\.txt in it"):
        train_tokenizer(recipe(layouts.write_texts(tmp_path / "c", DOCUMENTS)), tmp_path / "model", overwrite)
    assert (tmp_path / "model" / "vocab.txt").read_text() == "mine"


def test_a_part_of_a_big_corpus_is_taken_evenly(tmp_path, monkeypatch, capsys):
    layouts.set_part_bytes(monkeypatch, 10_000)
    documents = make_documents(9000, seed=1)
    corpus = layouts.write_texts(tmp_path / "corpus", documents)
    total = sum(map(len, documents))
    assert total > 2_000_000
    train_tokenizer(recipe(corpus, "megabytes=1"), tmp_path / "vocab")
    said = capsys.readouterr().err
    assert 0.8 < float(re.search(r"training on .* documents, ([\d.]+) M characters", said)[1]) < 1.2


@pytest.mark.parametrize("more", [["on_error=stop"], ["on_error=skip"]])
def test_what_cannot_be_read(tmp_path, more, capsys):
    corpus = layouts.write_archives(tmp_path / "corpus", [*DOCUMENTS, b"\xff"], each=50)
    path = corpus / "urlsf_subset00-001_data.xz"
    path.write_bytes(path.read_bytes()[:-30])
    if more == ["on_error=stop"]:
        with pytest.raises(UserError, match=r"001_data\.xz: .*truncated.*on_error=skip"):
            train_tokenizer(recipe(corpus, *more, layout="openwebtext"), tmp_path / "vocab")
        assert not (tmp_path / "vocab" / "manifest.json").exists()
    else:
        train_tokenizer(recipe(corpus, *more, layout="openwebtext"), tmp_path / "vocab")
        assert "skipped 1 broken archive, 1 not UTF-8" in capsys.readouterr().err


def test_a_corpus_without_text(tmp_path):
    corpus = layouts.write_texts(tmp_path / "corpus", [b" "])
    with pytest.raises(UserError, match="no text to train a vocabulary on"):
        train_tokenizer(recipe(corpus), tmp_path / "vocab")
