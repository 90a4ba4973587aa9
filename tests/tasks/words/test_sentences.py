"""Files of sentences with tags: what task they are, and what is refused."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.published.chunking import read_chunking
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task_spec import TaskData
from bertsmith.tasks.words.sentences import ENTITY_METRICS, PLAIN_METRICS, read_custom_tagging

GOOD = "the DT B-NP\ncat NN I-NP\nsat VB B-VP\n. . O\n\nit PRP B-NP\n"


def own(folder: Path, *, skip_malformed: bool = False, **settings: str) -> TaskData:
    return read_custom_tagging(CustomSettings(**settings), folder, skip_malformed=skip_malformed)


def write(folder, train=GOOD, dev=GOOD, ending="txt"):
    (folder / f"train.{ending}").write_text(train)
    (folder / f"dev.{ending}").write_text(dev)
    return folder


def test_entities_have_every_prefix_of_training_with_every_type(tmp_path):
    data = own(write(tmp_path, dev="sat VB I-VP\n"))
    assert data.spec.labels == ("O", "B-NP", "I-NP", "B-VP", "I-VP")
    assert data.spec.metrics == ENTITY_METRICS
    assert data.train.texts() == [["the", "cat", "sat", "."], ["it"]]
    assert data.train.tags() == [["B-NP", "I-NP", "B-VP", "O"], ["B-NP"]]
    assert data.train.fingerprint() != data.dev.fingerprint()


def test_bioes_and_letters_alone(tmp_path):
    data = own(write(tmp_path, "a S-X\nb B-X\nc I-X\nd E-X\n", "a E-X\n", "conll"))
    assert data.spec.labels == ("O", "B-X", "E-X", "I-X", "S-X")
    (tmp_path / "letters").mkdir()
    assert own(write(tmp_path / "letters", "a B\nb I\n", "a O\n")).spec.labels == ("O", "B", "I")


def test_plain_tags(tmp_path):
    data = own(write(tmp_path, "a DT\nb NN\nc O\n", "a NN\n"))
    assert (data.spec.labels, data.spec.metrics) == (("DT", "NN", "O"), PLAIN_METRICS)


def test_moving_the_files_changes_nothing_and_a_blank_line_does(tmp_path):
    prints = []
    for name, text in (("one", GOOD), ("two", GOOD.replace(" ", "\t")), ("three", GOOD.replace("sat", "\nsat"))):
        (tmp_path / name).mkdir()
        prints.append(own(write(tmp_path / name, text)).train.fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_document_lines_end_a_sentence_and_are_none(tmp_path):
    prints = []
    for name, text in (
        ("without", GOOD),
        ("with", "-DOCSTART- -X- O\n\n" + GOOD.replace("\n\n", "\n\n-DOCSTART- -X- O\n\n")),
        ("close", "-DOCSTART- -X- O\n" + GOOD.replace("\n\n", "\n-DOCSTART- -X- O\n")),
    ):
        (tmp_path / name).mkdir()
        data = own(write(tmp_path / name, text))
        assert data.train.texts() == [["the", "cat", "sat", "."], ["it"]]
        prints.append((data.train.fingerprint(), data.spec))
    assert prints[0] == prints[1] == prints[2]
    with pytest.raises(UserError, match="no words in this file"):
        own(write(tmp_path, "-DOCSTART- O\n"))


def test_chunking_scores_dev_where_there_is_one_else_test(tmp_path):
    write(tmp_path)
    (tmp_path / "dev.txt").rename(tmp_path / "test.txt")
    data = read_chunking(tmp_path)
    assert (data.dev.path.name, data.scored_on) == ("test.txt", "test")
    write(tmp_path)
    data = read_chunking(tmp_path)
    assert (data.dev.path.name, data.scored_on) == ("dev.txt", "dev")


def test_conll2000(shared_data):
    data = read_chunking(shared_data / "conll2000")
    assert (data.train.num_examples, data.dev.num_examples) == (8936, 2012)
    assert (sum(1 for _ in data.train.flat()), sum(1 for _ in data.dev.flat())) == (211727, 47377)
    assert len(data.spec.labels) == 23, "I-LST is in the test file alone"


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        (GOOD, "the DT B-NP\n\nin IN B-PP\n", r"dev.txt, line 3: the tag 'B-PP', which train.txt does not have; "),
        ("a DT\nb NN\n", "a DT\nb JJ\n", r"dev.txt, line 2: the tag 'JJ', which train.txt does not have; "),
        ("the\ncat\n", GOOD, r"train.txt, line 1: one column \('the'\); a line is a word, …, and its tag"),
        ("\nthe DT B-NP\ncat\n", GOOD, r"train.txt, line 3: 1 columns where other lines have 3"),
        ("\n\n", GOOD, r"train.txt: no words in this file"),
        (GOOD, "", r"dev.txt: no words in this file"),
        ("a B-NP\nb NN\n", GOOD, r"train.txt, line 2: 'NN' is no tag of BIO or BIOES, which 'B-NP' in line 1 is; fix"),
        ("a B-NP\nb B-\n", GOOD, r"train.txt, line 2: 'B-' is no tag of BIO or BIOES, which 'B-NP' in line 1 is; fix"),
        ("a NN\nb NN\n", GOOD, r"train.txt: 1 different tags; tagging has 2 to 1,000"),
    ],
)
def test_what_is_refused_with_its_place(tmp_path, train, dev, message):
    with pytest.raises(UserError, match=message):
        own(write(tmp_path, train, dev))


ROWS = {"sentence": [["the", "cat"], ["it", "sat"]], "label": [["B-NP", "I-NP"], ["B-NP", "O"]]}


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_a_table_has_a_sentence_a_row(tmp_path, ending):
    for split in ("train", "dev"):
        path = tmp_path / f"{split}.{ending}"
        if ending == "parquet":
            pyarrow.parquet.write_table(pyarrow.table(ROWS), path)
        elif ending == "jsonl":
            rows = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        else:
            between = "," if ending == "csv" else "\t"
            rows = [list(ROWS), *([" ".join(cell) for cell in row] for row in zip(*ROWS.values(), strict=True))]
            path.write_text("".join(f"{between.join(row)}\n" for row in rows))
    data = own(tmp_path)
    assert data.train.texts() == ROWS["sentence"] and data.train.tags() == ROWS["label"]
    assert data.spec.labels == ("O", "B-NP", "I-NP") and data.spec.metrics == ENTITY_METRICS


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, r"train.jsonl, line 1: 2 words and 1 tags; each word has one tag"),
        ({"tokens": [], "tags": []}, r"train.jsonl, line 1: 0 words and 0 tags; each word has one tag"),
        ({"tokens": ["a", "b"], "tags": [3, 0]}, r"train.jsonl, line 1: tags is \[3, 0\]; it must be words, or names"),
        ({"tokens": ["a b"], "tags": ["O"]}, r"train.jsonl, line 1: tokens is \['a b'\]; it must be words"),
        ({"words": ["a"], "tags": ["O"]}, r"train.jsonl, line 1: no column 'tokens'; .*custom.text=… names it"),
    ],
)
def test_what_is_refused_of_a_table(tmp_path, row, message):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=message):
        own(tmp_path, text="tokens", label="tags")


def test_what_is_not_there(tmp_path):
    with pytest.raises(
        UserError,
        match=r"no file train.txt, .conll, .tsv, .csv, .jsonl, .parquet in it; data=… names the folder of the task",
    ):
        own(tmp_path)
    with pytest.raises(UserError, match=r"train.txt: "):
        read_chunking(tmp_path)


@pytest.mark.parametrize("conll", [False, True])
def test_sentences_with_a_malformed_line_can_be_left_out(tmp_path, conll):
    """Whole, and whichever line it is; of dev those with a tag that training does not have too."""
    odd = "cat NN\na DT B-NP\n\n# of NN I-XX\nb NN I-NP\n\n"
    write(tmp_path, odd + GOOD, GOOD + "\nx NN B-PP\ny NN B-NP\n\nz NN B-NP\nw NN I-NP O\n")

    def read(skip):
        return read_chunking(tmp_path, skip_malformed=skip) if conll else own(tmp_path, skip_malformed=skip)

    message = (
        r"train.txt, line 1: 2 columns where other lines have 3; fix the line \(skip_malformed=true leaves such sent"
    )
    with pytest.raises(UserError, match=message):
        read(False)
    found, words = read(True), [["the", "cat", "sat", "."], ["it"]]
    assert found.train.texts() == [["b"], *words] and found.dev.texts() == words
    assert found.spec.labels == ("O", "B-NP", "I-NP", "B-VP", "I-VP")
    assert (
        f"1 malformed sentences, left out; the first: {tmp_path / 'train.txt'}, line 1: 2 col" in found.train.notes[0]
    )
    columns, tag = found.dev.notes
    assert columns.startswith("1 malformed sentences, left out") and "line 12: 4 columns" in columns
    assert "1 malformed sentences, left out" in tag and "line 8: the tag 'B-PP', which train.txt does not have" in tag
    with pytest.raises(UserError, match=r"line 8: the tag 'B-PP'.*\(skip_malformed=true leaves such sentences out\)"):
        write(tmp_path, GOOD, GOOD + "\nx NN B-PP\n")
        read(False)


def test_file_names_in_capitals_are_the_same(tmp_path):
    (tmp_path / "Train.TXT").write_text(GOOD)
    (tmp_path / "DEV.txt").write_text(GOOD)
    assert own(tmp_path).train.texts() == read_chunking(tmp_path).dev.texts() == [["the", "cat", "sat", "."], ["it"]]
    (tmp_path / "train.txt").write_text(GOOD)
    for read in (own, read_chunking):
        with pytest.raises(UserError, match=r"both Train.TXT and train.txt"):
            read(tmp_path)


def test_which_recipes_tag_words():
    def tags(name, *overrides):
        return load(FinetuneRecipe, "finetune", name, ["model=m", "data=d", *overrides]).settings.spec.input == "words"

    assert tags("chunk") and tags("custom", "custom.kind=tagging")
    assert not tags("custom") and not tags("cola")


WORDS_AND_TAGS = [(["Ann", "Lee", "wrote"], ["B-PER", "I-PER", "O"]), (["Rome", "1\u00a0000"], ["B-LOC", "O"])]


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        ("csv", str), ("csv", lambda words: "[" + " ".join(map(repr, words)) + "]"), ("csv", json.dumps),
        ("CSV", lambda words: str(tuple(words))), ("tsv", " ".join), ("TSV", str),
        ("csv", lambda words: f"array({words!r}, dtype=object)"),
    ],
)  # fmt: skip
def test_lists_in_cells_are_the_words_and_tags_in_them(tmp_path, ending, shown):
    for split in ("train", "dev"):
        with open(tmp_path / f"{split}.{ending}", "w", newline="", encoding="utf-8") as file:
            rows = [["sentence", "label"], *([shown(words), shown(tags)] for words, tags in WORDS_AND_TAGS)]
            if ending.lower() == "csv":
                csv.writer(file).writerows(rows)
            else:
                file.writelines("\t".join(row) + "\r\n" for row in rows)
    found = read_custom_tagging(CustomSettings(kind="tagging"), tmp_path)
    assert found.train.texts() == [words for words, _ in WORDS_AND_TAGS]
    assert found.train.tags() == [tags for _, tags in WORDS_AND_TAGS]
    assert found.spec.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def test_rows_of_a_table_can_be_left_out(tmp_path):
    rows = [{"sentence": words, "label": tags} for words, tags in WORDS_AND_TAGS]
    odd = [
        {"sentence": ["a"], "label": ["O", "O"]},
        {"sentence": None, "label": ["O"]},
        {"sentence": ["a"], "label": [0]},
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, [*odd, *rows])))
    settings = CustomSettings(kind="tagging")
    with pytest.raises(UserError, match=r"train.jsonl, line 1: 1 words and 2 tags; .*; fix the line, or set skip_malf"):
        read_custom_tagging(settings, tmp_path)
    found = read_custom_tagging(settings, tmp_path, skip_malformed=True)
    assert found.train.texts() == [words for words, _ in WORDS_AND_TAGS]
    assert "3 malformed lines left out; the first is line 1: 1 words and 2 tags" in found.train.notes[0]
