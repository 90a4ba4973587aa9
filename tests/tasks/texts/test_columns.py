"""Tasks of one's own, and what is refused."""

import json

import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.texts.columns import read_columns


def write(folder, train, dev, ending="tsv"):
    for name, lines in (("train", train), ("dev", dev)):
        (folder / f"{name}.{ending}").write_text("\n".join(lines) + "\n")
    return folder


def test_classes_are_the_training_files_in_order(tmp_path):
    write(tmp_path, ["sentence\tlabel", "x\t10", "y\t9", "z\t10"], ["label\tsentence", "9\tx"])
    data = read_columns(CustomSettings(), tmp_path)
    assert data.task.labels == ("9", "10")
    assert data.train.targets.tolist() == [1, 0, 1]
    assert (data.dev.first, data.dev.second, data.dev.targets.tolist()) == (["x"], None, [0])


def test_pairs_and_numbers_from_jsonl(tmp_path):
    rows = [json.dumps({"a": f"x{i}", "b": f"y{i}", "score": i / 2}) for i in range(5)]
    write(tmp_path, rows, [*rows, json.dumps({"a": "x", "b": "y", "score": 7})], "jsonl")
    settings = CustomSettings(text="a", second_text="b", label="score", kind="regression")
    data = read_columns(settings, tmp_path)
    assert (data.task.is_regression, data.task.low, data.task.high) == (True, 0.0, 2.0)
    assert data.train.second == ["y0", "y1", "y2", "y3", "y4"]
    assert data.dev.targets.tolist() == [0, 0.5, 1, 1.5, 2, 7]


@pytest.mark.parametrize(
    ("train", "dev", "settings", "message"),
    [
        (["sentence\tlabel", "x\t1", "y\t0"], ["sentence\tlabel", "x\t2"], {}, r"dev.tsv, line 2: label is '2'.* 0, 1"),
        (["sentence\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"], {}, r"train.tsv: label has 1 different values"),
        (["text\tlabel", "x\t1"], ["text\tlabel", "x\t1"], {}, r"there are 'text'.*; custom.text=… names it"),
        (["sentense\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"], {}, r"'sentence';.* did you mean 'sentense'\?"),
        (["sentence\tlabel", "x\tno"], [""], {"kind": "regression"}, r"no examples|no column|must be a number"),
        (["sentence\tlabel", "x\t2"], ["sentence\tlabel", "x\t2"], {"kind": "regression"}, r"label is 2 in every line"),
    ],
)
def test_faults(tmp_path, train, dev, settings, message):
    write(tmp_path, train, dev)
    with pytest.raises(UserError, match=message):
        read_columns(CustomSettings(**settings), tmp_path)


@pytest.mark.parametrize("value", ['["a", "b"]', "null"])
def test_a_class_is_no_list_and_not_nothing(tmp_path, value):
    lines = ['{"sentence": "x", "label": "a"}', f'{{"sentence": "y", "label": {value}}}']
    write(tmp_path, lines, lines, "jsonl")
    with pytest.raises(UserError, match=r"train.jsonl, line 2: label is .*multi-label is for lists"):
        read_columns(CustomSettings(), tmp_path)


def test_files_are_missing_or_double(tmp_path):
    with pytest.raises(UserError, match=r"no file train.tsv, .csv, .jsonl, .parquet"):
        read_columns(CustomSettings(), tmp_path)
    write(tmp_path, ["sentence\tlabel", "x\t1"], ["sentence\tlabel", "x\t1"])
    write(tmp_path, ["sentence,label", "x,1"], ["sentence,label", "x,1"], "csv")
    with pytest.raises(UserError, match=r"both train.tsv and train.csv"):
        read_columns(CustomSettings(), tmp_path)
