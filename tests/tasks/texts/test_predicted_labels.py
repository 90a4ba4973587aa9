"""Predictions in the layout of GLUE's submissions, in any order, and those that do not fit the dev file."""

from pathlib import Path

import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.grade import read_predicted_labels
from bertsmith.tasks.published.glue import GLUE


def read(folder, content, task="rte", name="p.tsv"):
    path = folder / name
    path.write_text(content)
    return read_predicted_labels(path, GLUE[task].spec, Path("dev.tsv"), 3)


def test_classes_in_any_order(tmp_path):
    content = "index\tprediction\r\n2\tentailment\r\n0\tentailment\r\n1\tnot_entailment\r\n"
    assert read(tmp_path, content).tolist() == [0, 1, 0]
    mnli = read(tmp_path, "index\tprediction\n0\tneutral\n1\tcontradiction\n2\tentailment\n", "mnli")
    assert mnli.tolist() == [2, 0, 1]


def test_numbers_keep_their_precision(tmp_path):
    """In 32 bits the first two would be one number, and their ranks the same."""
    numbers = read(tmp_path, "index\tprediction\n0\t2.500000001\n1\t2.500000002\n2\t-0.5\n", "sts-b")
    assert numbers.tolist() == [2.500000001, 2.500000002, -0.5]


def test_a_trials_own_file_and_other_layouts(tmp_path):
    assert read(tmp_path, "index\tprediction\tlabel\n0\t1\t0\n1\t0\t0\n2\t1\t1\n", "cola").tolist() == [1, 0, 1]
    assert read(tmp_path, "index,prediction\n0,1\n1,0\n2,1\n", "qqp", "p.csv").tolist() == [1, 0, 1]
    lines = "".join(f'{{"index": {index}, "prediction": {index % 2}}}\n' for index in range(3))
    assert read(tmp_path, lines, "wnli", "p.jsonl").tolist() == [0, 1, 0]
    as_pandas = "index\tprediction\r2.0\t1.0\r0.0\t0.0\r1.0\t0.0\r\r"
    assert read(tmp_path, as_pandas, "cola").tolist() == [0, 0, 1]


ROWS = "0\tentailment\n1\tentailment\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"p.tsv: no examples in this file"),
        (ROWS, r"p.tsv: no columns 'index', 'prediction'; there are '0', 'entailment' \(line 1 names them\)"),
        ("index\tlabel\n" + ROWS, r"p.tsv: no column 'prediction'; there are 'index', 'label'"),
        ("index\tprediction\n" + ROWS + "2\tmaybe\n", r"line 4: prediction is 'maybe'; .* entailment, not_entailment"),
        ("index\tprediction\n" + ROWS + "2\t1\n", r"line 4: prediction is '1'; .* entailment, not_entailment"),
        ("index\tprediction\n" + ROWS + "2\n", r"line 4: 1 columns where there should be 2; fix the line$"),
        ("index\tprediction\n" + ROWS + "1\tentailment\n", r"line 4: index 1 is in line 3 too"),
        ("index\tprediction\n" + ROWS + "3\tentailment\n", r"line 4: index is '3'; .* dev.tsv, 0 to 2"),
        ("index\tprediction\n" + ROWS + "-1\tentailment\n", r"line 4: index is '-1'"),
        ("index\tprediction\n" + ROWS + "2.5\tentailment\n", r"line 4: index is '2.5'; it must be a whole number"),
        ("index\tprediction\n" + ROWS + "٢\tentailment\n", r"line 4: index is '٢'"),
        ("index\tprediction\n" + ROWS, r"1 of 3 examples have no prediction, the first is index 2"),
        ("index\tprediction\n" + ROWS * 2, r"4 predictions for the 3 examples of dev.tsv; .*another split"),
        ("index\tprediction\n", r"p.tsv: no examples"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "x", ""])
def test_no_number(tmp_path, value):
    with pytest.raises(UserError, match=r"p.tsv, line 3: prediction is '.*'; it must be a number"):
        read(tmp_path, f"index\tprediction\n0\t1.5\n1\t{value}\n2\t3\n", "sts-b")
