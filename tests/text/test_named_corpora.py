"""Several corpora in one data folder: each has the shards that it would have by itself, and keeps its name."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.planning.incomplete import load_incomplete
from bertsmith.text import shards
from bertsmith.text.journal import Journal
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.merging import MergeSettings, merge_shares
from bertsmith.text.named_corpora import open_corpora
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import ARRAYS, SPLITS, open_data, shard_file
from tests.text import layouts

DOCUMENTS = layouts.make_documents(240)
WEB, BOOKS, NOTES = DOCUMENTS[:120], DOCUMENTS[120:200], DOCUMENTS[200:]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    layouts.set_part_bytes(monkeypatch, 2000)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 1500)


@pytest.fixture
def texts(tmp_path) -> Path:
    """Three corpora in three layouts, and a vocabulary."""
    layouts.write_jsonl(tmp_path / "web", WEB)
    layouts.write_texts(tmp_path / "books", BOOKS)
    layouts.write_parquet(tmp_path / "notes", NOTES, column="body")
    layouts.write_vocabulary(tmp_path)
    return tmp_path


def recipe(folder: Path, *more: str, weights: tuple[float | None, ...] = (None, None, None)) -> PrepareRecipe:
    tables = [
        {"path": str(folder / "web")}, {"path": str(folder / "books"), "layout": "text"},
        {"path": str(folder / "notes"), "layout": "parquet", "field": "body", "name": "my-notes"},
    ]  # fmt: skip
    texts = (
        ", ".join(f'{key}="{value}"' for key, value in table.items()) + (f", weight={weight}" if weight else "")
        for table, weight in zip(tables, weights, strict=True)
    )
    return one(folder, f"corpora=[{', '.join(f'{{{text}}}' for text in texts)}]", *more)


def one(folder: Path, *values: str, layout: str = "jsonl") -> PrepareRecipe:
    given = [f"vocab={folder / 'vocab.txt'}", "workers=1", "heldout_fraction=0.2", *values]
    return load(PrepareRecipe, "prepare", layout, given).settings


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def test_each_corpus_has_the_shards_that_it_has_alone(texts):
    data = prepare(recipe(texts, weights=(2, 1, 0.5)), texts / "mix")
    alone = {
        "web": prepare(one(texts, f"corpus={texts / 'web'}"), texts / "alone-web"),
        "books": prepare(one(texts, f"corpus={texts / 'books'}", layout="text"), texts / "alone-books"),
        "my-notes": prepare(
            one(texts, f"corpus={texts / 'notes'}", "field=body", layout="parquet"), texts / "alone-notes"
        ),
    }
    assert list(data.corpora) == list(alone)
    first = Counter()
    for name, own in alone.items():
        assert own.num_shards("train") > 1
        for split in SPLITS:
            for index in range(own.num_shards(split)):
                for array in ARRAYS:
                    found = data.path / shard_file(split, first[split] + index, array)
                    assert found.read_bytes() == (own.path / shard_file(split, index, array)).read_bytes()
                there, expected = data.corpora[name].read(split, index), own.read(split, index)
                np.testing.assert_array_equal(there.tokens, expected.tokens)
            assert data.corpora[name].num_tokens(split) == own.num_tokens(split)
            first[split] += own.num_shards(split)
    assert all(data.num_shards(split) == first[split] for split in SPLITS)
    described = {each["name"]: each for each in data.manifest["corpora"]}
    for name, own in alone.items():
        assert own.manifest["corpus"].items() <= described[name].items()
        assert {key: described[name][key] for key in ("counts", "skipped")} == {
            key: own.manifest[key] for key in ("counts", "skipped")
        }
        assert "corpora" not in own.manifest and own.corpora == {}, "one corpus is as it ever was"
    assert [each["weight"] for each in described.values()] == [2, 1, 0.5]
    assert data.manifest["counts"] == dict(sum((Counter(own.manifest["counts"]) for own in alone.values()), Counter()))
    assert open_data(data.path).hash == data.hash


@pytest.mark.parametrize("number", [1, 2, 5])
def test_merged_parts_are_the_bytes_of_one_machine(texts, number):
    whole = prepare(recipe(texts, weights=(1, 1, 2)), texts / "whole")
    for part in range(1, number + 1):
        prepare(recipe(texts, f"part={part}/{number}", weights=(1, 1, 2)), texts / "parts")
    merged = merge_shares(MergeSettings(workers=1), texts / "parts")
    assert content(merged.path) == content(whole.path)


def test_parts_of_other_weights_are_not_merged(texts):
    for part, weights in ((1, (0.7, 0.1, 0.2)), (2, (7, 1, 2))):
        prepare(recipe(texts, f"part={part}/2", weights=weights), texts / "same")
    merge_shares(MergeSettings(workers=1), texts / "same")
    for part, last in ((1, 2), (2, 3)):
        prepare(recipe(texts, f"part={part}/2", weights=(1, 1, last)), texts / "parts")
    with pytest.raises(UserError, match=r"part-00002-of-00002: its corpora have other weights than part 1's"):
        merge_shares(MergeSettings(workers=1), texts / "parts")


def test_the_bytes_are_the_same_wherever_it_was_stopped_and_with_two_workers(texts, monkeypatch):
    expected = content(prepare(recipe(texts), texts / "whole").path)
    note, times = Journal._note, Counter()

    def stop(self, line):
        times["lines"] += 1
        if times["lines"] % 4 == 0:
            raise KeyboardInterrupt
        return note(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_note", stop)
        for _ in range(100):
            try:
                prepare(recipe(texts), texts / "stopped")
                break
            except KeyboardInterrupt:
                times["stops"] += 1
    assert times["stops"] > 10
    assert content(texts / "stopped") == expected
    assert content(prepare(recipe(texts, "workers=2"), texts / "two").path) == expected


def test_a_list_of_paths_is_a_list_of_tables(texts, tmp_path, monkeypatch):
    layouts.write_jsonl(tmp_path / "more" / "web", BOOKS)
    monkeypatch.chdir(texts)
    paths = ["web/corpus.jsonl", "web/", "more/*/*.jsonl", "more/web"]
    typed = one(texts, f"corpus=[{', '.join(paths)}]")
    assert typed == one(texts, f"corpus={json.dumps(paths)}")
    assert typed == one(texts, f"corpora=[{', '.join(f'{{path={json.dumps(path)}}}' for path in paths)}]")
    (texts / "mix.toml").write_text(
        'layout = "jsonl"\n[[corpora]]\npath = "web"\n[[corpora]]\npath = "books"\nlayout = "text"\n'
    )
    assert open_corpora(typed).names == ["corpus", "web", "more", "web-2"]
    loaded = load_incomplete("prepare", str(texts / "mix.toml"))
    assert open_corpora(loaded.settings).names == ["web", "books"] and loaded.origins["vocab"] == "needed"
    for given in ("[web]", "[web, ]", "['web']", "[ 'web',]"):
        assert one(texts, f"corpus={given}").corpora == (typed.corpora[0].__class__(path="web"),), given
    assert one(texts, "corpus=[ab]*[cd]").corpus == "[ab]*[cd]", "a pattern"
    (texts / "[web]").mkdir()
    assert one(texts, "corpus=[web]").corpus == "[web]"
    assert load(PrepareRecipe, "prepare", str(texts / "mix.toml"), ["corpus=web", "vocab=v"]).settings.corpora == ()


def test_a_corpus_without_a_document_is_said_and_has_no_shard(texts, capsys):
    (texts / "empty").mkdir()
    (texts / "empty" / "a.txt").write_text(" \n")
    tables = f'[{{path="{texts / "empty"}", layout="text"}}, {{path="{texts / "web"}"}}]'
    data = prepare(one(texts, f"corpora={tables}"), texts / "mix")
    assert "empty: no usable document (1 empty); check its path, layout and field" in capsys.readouterr().err
    assert data.corpora["empty"].num_shards("train") == 0
    assert data.corpora["web"].num_shards("train") == data.num_shards("train") > 1


def test_an_empty_last_corpus_is_said_too(texts, capsys):
    (texts / "empty.jsonl").write_text("")
    given = f"corpus=[{texts / 'web'}, {texts / 'empty.jsonl'}]"
    whole = prepare(one(texts, given), texts / "mix")
    line = "empty: no usable document (it is empty); check its path, layout and field"
    assert capsys.readouterr().err.count(line) == 1
    for part in (1, 2):
        prepare(one(texts, given, f"part={part}/2"), texts / "parts")
    assert line not in capsys.readouterr().err
    merged = merge_shares(MergeSettings(workers=1), texts / "parts")
    assert capsys.readouterr().err.count(line) == 1
    assert content(merged.path) == content(whole.path)


def test_a_file_in_two_corpora_is_said_once(texts, capsys):
    file = texts / "web" / "corpus.jsonl"
    corpora = open_corpora(one(texts, f"corpus=[{texts / 'web'}, {file}, {texts}/web/*.jsonl]"))
    found = []
    corpora.report_files(found.append)
    assert found == [f"{file} and 1 more: in two corpora, web and corpus, so that its text is there twice"]
    found.clear()
    open_corpora(recipe(texts)).report_files(found.append)
    assert found == []


def test_weights_are_no_reason_to_prepare_again(texts):
    prepare(recipe(texts, weights=(2, 1, 1)), texts / "mix")
    assert prepare(recipe(texts, weights=(2, 1, 1)), texts / "mix").manifest["corpora"][0]["weight"] == 2
    prepare(recipe(texts, weights=(4, 2, 2)), texts / "mix")  # the same shares
    other = (
        r"mix: is finished, with weights web 2, books 1, my-notes 1; the recipe has weights web 3, books 1, .*\n"
        r"choose .* bertsmith pretrain … .*mix 'weights={web=3, books=1, my-notes=1}'$"
    )
    with pytest.raises(UserError, match=other):
        prepare(recipe(texts, weights=(3, 1, 1)), texts / "mix")
    with pytest.raises(UserError, match=r"has no weights \(each.*\n.* 'weights={web=\d+, books=\d+, my-notes=\d+}'$"):
        prepare(recipe(texts), texts / "mix")


def test_other_corpora_are_another_identity(texts):
    prepare(recipe(texts), texts / "mix")
    layouts.write_texts(texts / "books", [*BOOKS, b"ba be"])
    with pytest.raises(UserError, match=r"mix: made with other settings.*\n.*corpora\.books"):
        prepare(recipe(texts), texts / "mix")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("corpora=[{path='a', weight=1}, {path='b'}]",),
            r"^corpora\[1\]\.weight: needs a value, since corpora\[0\] h",
        ),
        (("corpora=[{path='a', weight=0}]",), r"^corpora\[0\]\.weight = 0: .*greater than 0"),
        (("corpora=[{path='a', name='a b'}]",), r"^corpora\[0\]\.name = 'a b': "),
        (("corpora=[{path='a', name='averaged_x'}]",), r"^corpora: name = 'averaged_x': averaged_… are measures"),
        (("corpora=[{path='a', name='x'}, {path='b', name='x'}]",), "^corpora: two have the name x; choose another"),
        (
            ("corpora=[{path='a', wieght=2}]",),
            r"^corpora\[0\]\.wieght: no such setting; did you mean corpora\[0\]\.weight\?",
        ),
        (("corpora=[{path='a', layout='pdf'}]",), r"^corpora\[0\]\.layout = 'pdf': there are 'openwebtext', "),
        (("corpora=[{name='a'}]",), r"^corpora\[0\]\.path: needs a value"),
        (("corpora=a",), r"^corpora = 'a': not a list of tables; \[\[corpora\]\] in a recipe"),
        (("corpus=a", "corpora=[{path='b'}]"), "^corpus and corpora: give one of them"),
        (("corpus=[]",), "^corpus: needs a value"),
        ((), "^corpus: needs a value, in the recipe or as corpus=… on the command line"),
    ],
)
def test_what_cannot_be_is_a_line(tmp_path, given, message):
    with pytest.raises(UserError, match=message) as caught:
        one(tmp_path, *given)
    assert "\n" not in str(caught.value)


def test_a_manifest_whose_corpora_do_not_agree_with_its_shards_is_damaged(texts):
    data = prepare(recipe(texts), texts / "mix")
    content = json.loads((data.path / "manifest.json").read_text())
    content["corpora"][1]["shards"]["train"] += 1
    (data.path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="its shards and its corpora do not agree"):
        open_data(data.path)


def test_a_vocabulary_is_learnt_from_all_text_where_that_is_less_than_it_may_be(tmp_path):
    layouts.write_jsonl(tmp_path / "web", [b"alpha " * 300] * 400)
    given = [f"corpus={tmp_path / 'web'}", "size=100", "megabytes=1"]
    train_tokenizer(load(TokenizerRecipe, "prepare", "jsonl", given).settings, tmp_path / "vocab")
    assert json.loads((tmp_path / "vocab" / "manifest.json").read_text())["counts"]["documents"] == 400


def test_a_vocabulary_is_learnt_from_all_of_them(tmp_path):
    layouts.write_jsonl(tmp_path / "web", [b"alpha " * 300] * 20)
    layouts.write_texts(tmp_path / "books", [b"omega " * 300] * 20)
    given = [f'corpora=[{{path="{tmp_path / "web"}"}}, {{path="{tmp_path / "books"}", layout="text"}}]', "size=100"]
    made = train_tokenizer(load(TokenizerRecipe, "prepare", "jsonl", given).settings, tmp_path / "vocab")
    ids, _ = made.encode_batch([b"alpha omega"])
    assert len(ids) == 2, "both words are whole"
    assert os.path.isfile(tmp_path / "vocab" / "vocab.txt")
