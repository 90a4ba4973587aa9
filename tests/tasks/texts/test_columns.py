"""Tasks of one's own, and what is refused."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.answer_kinds.number import Number
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.texts.examples import read_columns


def write(folder, train, dev, ending="tsv"):
    for name, lines in (("train", train), ("dev", dev)):
        (folder / f"{name}.{ending}").write_text("\n".join(lines) + "\n")
    return folder


def test_classes_are_the_training_files_in_order(tmp_path):
    write(tmp_path, ["sentence\tlabel", "x\t10", "y\t9", "z\t10"], ["label\tsentence", "9\tx"])
    data = read_columns(CustomSettings(), tmp_path)
    assert data.spec.labels == ("9", "10")
    assert data.train.targets.tolist() == [1, 0, 1]
    assert (data.dev.first, data.dev.second, data.dev.targets.tolist()) == (["x"], None, [0])


def test_pairs_and_numbers_from_jsonl(tmp_path):
    rows = [json.dumps({"a": f"x{i}", "b": f"y{i}", "score": i / 2}) for i in range(5)]
    write(tmp_path, rows, [*rows, json.dumps({"a": "x", "b": "y", "score": 7})], "jsonl")
    settings = CustomSettings(text="a", second_text="b", label="score", kind="regression")
    data = read_columns(settings, tmp_path)
    assert data.spec.answers == Number(low=0.0, high=2.0)
    assert data.train.second == ["y0", "y1", "y2", "y3", "y4"]
    assert data.dev.targets.tolist() == [0, 0.5, 1, 1.5, 2, 7]


@pytest.mark.parametrize(
    ("train", "dev", "settings", "message"),
    [
        (["sentence\tlabel", "x\t1", "y\t0"], ["sentence\tlabel", "x\t2"], {}, r"dev.tsv, line 2: label is '2'.* 0, 1"),
        (["sentence\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"], {}, r"train.tsv: label has 1 different values"),
        (["sentence\tlabel", "x\t1", "y\t"], ["sentence\tlabel", "x\t1"], {}, r"train.tsv, line 3: label is ''; each"),
        (["text\tlabel", "x\t1"], ["text\tlabel", "x\t1"], {}, r"there are 'text'.*; custom.text=… .* names it"),
        (["sentense\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"], {}, r"'sentence';.* did you mean 'sentense'\?"),
        (["sentence\tlabel", "x\tno"], [""], {"kind": "regression"}, r"no examples|no column|must be a number"),
        (["sentence\tlabel", "x\t2"], ["sentence\tlabel", "x\t2"], {"kind": "regression"}, r"label is 2 in every line"),
    ],
)
def test_faults(tmp_path, train, dev, settings, message):
    write(tmp_path, train, dev)
    with pytest.raises(UserError, match=message):
        read_columns(CustomSettings(**settings), tmp_path)


@pytest.mark.parametrize("value", [None, "", ["a"], {"a": 1}])
def test_what_is_no_label_is_refused(tmp_path, value):
    rows = [json.dumps({"sentence": "x", "label": label}) for label in ("a", value)]
    write(tmp_path, rows, rows[:1], "jsonl")
    with pytest.raises(UserError, match=r"train.jsonl, line 2: label is .*; each example needs one label"):
        read_columns(CustomSettings(), tmp_path)


def test_files_are_missing_or_double(tmp_path):
    with pytest.raises(UserError, match=r"no file train.tsv, .csv, .jsonl, .parquet"):
        read_columns(CustomSettings(), tmp_path)
    write(tmp_path, ["sentence\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"])
    write(tmp_path, ["sentence,label", "x,1"], ["sentence,label", "x,1"], "csv")
    with pytest.raises(UserError, match=r"both train.tsv and train.csv"):
        read_columns(CustomSettings(), tmp_path)


def test_file_names_in_capitals_are_the_same_and_not_two(tmp_path):
    for name in ("Train.CSV", "DEV.csv"):
        (tmp_path / name).write_text("sentence,label\na,1\nb,0\n")
    assert read_columns(CustomSettings(), tmp_path).train.targets.tolist() == [1, 0]
    (tmp_path / "train.csv").write_text("sentence,label\na,1\nb,0\n")
    with pytest.raises(UserError, match=r"both Train.CSV and train.csv"):
        read_columns(CustomSettings(), tmp_path)


def of_rows(folder, rows, dev=None, ending="jsonl", **settings):
    """The task of rows of texts with labels, or of lines of a file as they stand."""
    for split, some in (("train", rows), ("dev", rows if dev is None else dev)):
        if ending == "jsonl":
            lines = [json.dumps({"sentence": f"text {n}", "label": label}) for n, label in enumerate(some)]
        elif ending == "csv":
            lines = ["sentence,label", *(f'text {n},"{label}"' for n, label in enumerate(some))]
        else:
            columns = {"sentence": [f"text {n}" for n in range(len(some))], "label": some}
            pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{split}.parquet")
            continue
        (folder / f"{split}.{ending}").write_text("\n".join(lines), encoding="utf-8")
    skip = settings.pop("skip_malformed", False)
    return read_columns(CustomSettings(**settings), folder, skip_malformed=skip)


@pytest.mark.parametrize(
    ("ending", "rows", "dev", "labels", "targets"),
    [
        ("jsonl", [1, 0.0, 1.0], None, ("0", "1"), [1, 0, 1]),
        ("jsonl", [2.0, 10.0, 1.0], [1, "2", "10.0"], ("1.0", "2.0", "10.0"), [1, 2, 0]),
        ("jsonl", [1e16, 1e-7, 1e300], [1e16, 1e-7, 1e300], ("0.0000001", "1" + "0" * 16, f"1{'0' * 300}"), [1, 0, 2]),
        ("csv", ["1.0", "0", "1", "0.0"], ["1", "0."], ("0", "1"), [1, 0, 1, 0]),
        ("csv", ["spam", "ham ", " spam\u00a0", "ham\u200b"], ["ham"], ("ham", "spam"), [1, 0, 1, 0]),
        ("csv", ["cafe\u0301", "tea", "caf\u00e9"], ["tea"], ("caf\u00e9", "tea"), [0, 1, 0]),
        ("csv", ["True", "FALSE", "true"], ["False"], ("false", "true"), [1, 0, 1]),
        ("parquet", [b"good", b"bad"], [b"bad"], ("bad", "good"), [1, 0]),
        ("parquet", [1.0, 0.0, 1.0], [0.0], ("0.0", "1.0"), [1, 0, 1]),
    ],
)
def test_one_label_is_one_class_however_it_is_written(tmp_path, ending, rows, dev, labels, targets):
    data = of_rows(tmp_path, rows, dev, ending)
    assert (data.spec.labels, data.train.targets.tolist()) == (labels, targets)


@pytest.mark.parametrize(
    ("ending", "value"),
    [("jsonl", None), ("jsonl", float("nan")), ("jsonl", "nan"), ("jsonl", "None"), ("csv", ""), ("csv", "nan"),
     ("csv", "NaN"), ("csv", "null"), ("csv", "  "), ("csv", "b'bad'"), ("csv", "['bad']"), ("jsonl", ["bad"]),
     ("parquet", None), ("parquet", "nan"), ("parquet", "\u200b")],
)  # fmt: skip
def test_a_missing_label_is_no_class(tmp_path, ending, value):
    rows = ["bad", "good", value, "bad"]
    with pytest.raises(UserError, match=r"train\.\w+, line \d: label is .*; .* set skip_malformed=true"):
        of_rows(tmp_path, rows, ["bad", "good"], ending)
    data = of_rows(tmp_path, rows, ["bad", "good"], ending, skip_malformed=True)
    assert (data.spec.labels, data.train.first) == (("bad", "good"), ["text 0", "text 1", "text 3"])
    assert "1 malformed lines left out; the first is line " in data.train.notes[0]


def test_a_label_that_only_dev_has_can_be_left_out(tmp_path):
    with pytest.raises(UserError, match=r"dev.csv, line 3: label is 'bda'.*did you mean 'bad'\?; .*skip_malformed"):
        of_rows(tmp_path, ["bad", "good"], ["bad", "bda"], "csv")
    data = of_rows(tmp_path, ["bad", "good"], ["bad", "bda"], "csv", skip_malformed=True)
    assert data.dev.targets.tolist() == [0] and "line 3: label is 'bda'" in data.dev.notes[0]


def test_missing_texts(tmp_path):
    for name, content in (
        ("jsonl", '{"sentence": null, "label": 1}\n{"sentence": "a", "label": 0}\n{"sentence": "b", "label": 1}\n'),
        ("csv", "sentence,label\n,1\na,0\nb,1\n"), ("tsv", "sentence\tlabel\n\u200b\t1\na\t0\nb\t1\n"),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "dev"):
            (folder / f"{split}.{name.upper()}").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"train\.\w+, line [12]: sentence is empty; .*set skip_malformed=true"):
            read_columns(CustomSettings(), folder)
        data = read_columns(CustomSettings(), folder, skip_malformed=True)
        assert (data.train.first, data.train.targets.tolist()) == (["a", "b"], [0, 1])
    pair = CustomSettings(text="title", second_text="body")
    (tmp_path / "train.csv").write_text("title,body,label\na,,1\n,b,0\n")
    (tmp_path / "dev.csv").write_text("title,body,label\n,,1\n")
    with pytest.raises(UserError, match=r"dev.csv, line 2: title and body are empty"):
        read_columns(pair, tmp_path)


@pytest.mark.parametrize(
    ("ending", "rows"),
    [("jsonl", [[1, 1, 0], [0, 0, 1]]), ("csv", ["[0. 1. 0.]", "[1. 0. 0.]"]), ("csv", ["[0, 1]", "[1, 0]"]),
     ("jsonl", [[0, 1], [1, 0]]), ("parquet", [[True, False], [False, True]]), ("csv", ["1,0", "0,1"]),
     ("parquet", [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), ("csv", ["0 1 0", "1 0 0"]), ("csv", ["010", "100"])],
)  # fmt: skip
@pytest.mark.parametrize("skip", [False, True])
def test_vectors_of_zeros_and_ones_are_no_sets_of_labels(tmp_path, ending, rows, skip):
    with pytest.raises(UserError, match=r"train\.\w+.*zeros and ones"):
        of_rows(tmp_path, rows, None, ending, kind="multi-label", skip_malformed=skip)


def test_sets_of_labels_as_lists_in_cells(tmp_path):
    data = of_rows(tmp_path, ["['a', 'b']", "[]", "['b' 'c']", "a"], None, "csv", kind="multi-label")
    assert data.spec.labels == ("a", "b", "c")
    assert data.train.targets.astype(int).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_numbers_keep_float64(tmp_path):
    data = of_rows(tmp_path, [1700000000.25, 1700000000.5, 1700000001.0], None, "jsonl", kind="regression")
    assert (data.spec.answers.low, data.spec.answers.high) == (1700000000.25, 1700000001.0)
    assert data.train.targets.tolist() == [1700000000.25, 1700000000.5, 1700000001.0]
    other = of_rows(tmp_path, [1700000000.25, 1700000000.75, 1700000001.0], None, "jsonl", kind="regression")
    assert other.train.fingerprint() != data.train.fingerprint()


def test_quotes_of_a_tsv_are_characters_and_that_is_said(tmp_path, capsys):
    write(tmp_path, ["sentence\tlabel", '"he said ""no"""\t1', '"plain"\t0'], ["sentence\tlabel", "x\t1"])
    assert read_columns(CustomSettings(), tmp_path).train.first == ['"he said ""no"""', '"plain"']
    assert (
        "train.tsv, line 2: a text with doubled quotes, as a CSV writes them (1 in the file)" in capsys.readouterr().err
    )
    write(tmp_path, ["sentence\tlabel", '"no" he said\t1', '"plain" and "simple"\t0'], ["sentence\tlabel", "x\t1"])
    read_columns(CustomSettings(), tmp_path)
    assert "quotes" not in capsys.readouterr().err


def test_a_file_of_words_asks_for_the_kind(tmp_path):
    (tmp_path / "train.txt").write_text("word tag\n")
    with pytest.raises(UserError, match=r"no file train\.tsv.* in it; there is train\.txt: custom\.kind=tagging\?$"):
        read_columns(CustomSettings(), tmp_path)


def test_a_pair_is_told_of_both_settings(tmp_path):
    write(tmp_path, ["sentence1\tsentence2\tlabel", "x\ty\t1"], ["sentence1\tsentence2\tlabel", "x\ty\t1"])
    remedy = r"; custom\.text=… \(for pairs custom\.second_text=… too\) names it; did you mean 'sentence[12]'\?$"
    with pytest.raises(UserError, match=r"no column 'sentence'; there are 'sentence1', .*" + remedy):
        read_columns(CustomSettings(), tmp_path)
