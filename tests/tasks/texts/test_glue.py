"""Small GLUE folders in both layouts, and the real one."""

import pyarrow
import pyarrow.parquet
import pytest

from bertsmith.errors import UserError
from bertsmith.tasks.published.glue import GLUE, read_dev_labels, read_glue, read_split, why_absent
from bertsmith.tasks.texts.text_task import TextTask
from tests.tasks.texts.toy_glue import write_glue, write_split

LABELS = {
    "cola": "1", "sst-2": "0", "mrpc": "1", "sts-b": "3.8", "qqp": "0", "mnli": "neutral", "qnli": "not_entailment",
    "rte": "entailment", "wnli": "1",
}  # fmt: skip
HUB_LABELS = LABELS | {"mnli": 1, "qnli": 1, "rte": 0}


def write_tsv(folder, name, split="train", rows=2, label=None, folder_name=None):
    """As GLUE has it: more columns than needed, and the texts with quotes that mean nothing."""
    row = GLUE[name]
    columns = list(row.header or ("index", *row.texts, "more", row.label))
    if split == "test":
        columns = ["index", *row.texts]
    values = {**dict.fromkeys(columns, "x"), **{text: f'" {text} ' for text in row.texts}}
    values[row.label] = LABELS[name] if label is None else label
    lines = ["\t".join(values[column] for column in columns)] * rows
    if row.header is None or split == "test":
        lines.insert(0, "\t".join(columns))
    path = folder / (folder_name or row.folders[0]) / f"{split}{'' if split == 'train' else row.suffix}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", GLUE)
def test_tsv(tmp_path, name):
    row = GLUE[name]
    for split in ("train", "dev", "test"):
        path = write_tsv(tmp_path, name, split)
        examples = read_split(name, tmp_path, split, check_counts=False)
        assert list(examples.first) == [f'" {row.texts[0]} '] * 2
        assert examples.second is None if len(row.texts) == 1 else examples.second[0] == f'" {row.texts[1]} '
        if split == "test":
            assert examples.targets is None
        elif not row.spec.labels:
            assert examples.targets.tolist() == pytest.approx([3.8, 3.8])
        else:
            assert [row.spec.labels[id] for id in examples.targets] == [LABELS[name]] * 2
        with pytest.raises(UserError, match=rf"{path.name}: 2 examples where .* published; .*check_counts=false"):
            read_split(name, tmp_path, split)


@pytest.mark.parametrize("name", GLUE)
def test_parquet_of_the_hub_says_the_same(tmp_path, name):
    row = GLUE[name]
    texts = row.hub_texts or row.texts
    label = float(LABELS[name]) if not row.spec.labels else int(HUB_LABELS[name])
    folder = tmp_path / row.folders[-1]
    folder.mkdir()
    table = pyarrow.table({**{text: [f"{text} ."] for text in texts}, "label": [label], "idx": [0]})
    for part in range(2):
        pyarrow.parquet.write_table(table, folder / f"train-0000{part}-of-00002.parquet")
    pyarrow.parquet.write_table(table, folder / f"validation{row.suffix}.parquet")
    data = read_glue(name, tmp_path, check_counts=False)
    assert list(data.train.first) == [f"{texts[0]} ."] * 2
    assert len(data.dev.first) == 1
    if not row.spec.labels:
        assert data.train.targets.tolist() == pytest.approx([3.8, 3.8])
    else:
        assert row.spec.labels[data.dev.targets[0]] == LABELS[name]
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"1 of 00002 Parquet parts"):
        read_glue(name, tmp_path, check_counts=False)


@pytest.mark.parametrize("name", GLUE)
def test_dev_labels_alone(tmp_path, name):
    """The same from the dev file, the task's folder and the folder of all tasks."""
    path = write_tsv(tmp_path, name, "dev", rows=3)
    for gold in (path, path.parent, tmp_path):
        file, answers, left_out = read_dev_labels(name, gold)
        assert (file, len(answers), left_out) == (path, 3, ())
        labels = GLUE[name].spec.labels
        assert [labels[answer] if labels else f"{answer:g}" for answer in answers] == [LABELS[name]] * 3


def test_dev_labels_of_the_hub_and_of_mnlis_editions(tmp_path):
    matched = write_tsv(tmp_path, "mnli", "dev", rows=2)
    mismatched = matched.with_name("dev_mismatched.tsv")
    mismatched.write_text(matched.read_text(encoding="utf-8") + "no columns here\n", encoding="utf-8")
    assert read_dev_labels("mnli", tmp_path / "MNLI")[0] == matched
    path, _, left_out = read_dev_labels("mnli", mismatched)
    assert path == mismatched
    assert f"{mismatched}: 1 malformed lines left out; the first is line 4: " in left_out[0]
    hub = tmp_path / "validation_matched-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"label": [0, 1, 2]}), hub)
    names = [GLUE["mnli"].spec.labels[answer] for answer in read_dev_labels("mnli", hub)[1]]
    assert names == ["entailment", "neutral", "contradiction"]


def test_dev_labels_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none.tsv: no such file"):
        read_dev_labels("rte", tmp_path / "none.tsv")
    with pytest.raises(UserError, match=r"dev.tsv: no such file"):
        read_dev_labels("rte", tmp_path)
    with pytest.raises(UserError, match=r"test.tsv: no column 'label'"):
        read_dev_labels("rte", write_tsv(tmp_path, "rte", "test"))
    with pytest.raises(UserError, match=r"no examples in this file \(3 malformed lines; line 1: 2 columns where"):
        read_dev_labels("cola", write_tsv(tmp_path, "cola", "test"))


@pytest.mark.parametrize("folder_name", ["STS-B", "sts", "stsb"])
def test_folder_names(tmp_path, folder_name):
    write_tsv(tmp_path, "sts-b", folder_name=folder_name)
    assert len(read_split("sts-b", tmp_path, "train", check_counts=False).first) == 2


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder QNLI or qnli"):
        read_glue("qnli", tmp_path)
    path = write_tsv(tmp_path, "qnli", "dev")
    with pytest.raises(UserError, match=r"QNLI/train.tsv: no such file"):
        read_glue("qnli", tmp_path)
    path.with_name("train.tsv").write_text("index\tquestion\tlabel\n0\tx\tentailment\n")
    with pytest.raises(UserError, match=r"train.tsv: no column 'sentence'; there are 'index', 'question', 'label'"):
        read_glue("qnli", tmp_path)


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("rte", "maybe", r"line 2: label is 'maybe'; the task's labels are entailment, not_entailment"),
        ("cola", "2", r"line 1: label is '2'"),
        ("sts-b", "5.5", r"line 2: score is 5.5; it must be 0 to 5"),
        ("sts-b", "nan", r"line 2: score is 'nan'; it must be a number"),
    ],
)
def test_labels_outside_the_set(tmp_path, name, label, message):
    write_tsv(tmp_path, name, label=label)
    with pytest.raises(UserError, match=message):
        read_split(name, tmp_path, "train", check_counts=False)


@pytest.mark.parametrize("name", GLUE)
def test_real_folders_have_the_published_counts(shared_data, name):
    row = GLUE[name]
    present = [folder for folder in row.folders if (shared_data / "glue" / folder).is_dir()]
    if not present:
        pytest.skip(f"no {name} in the shared data")
    for split in ("train", "dev", "test"):
        if (shared_data / "glue" / present[0] / f"{split}.tsv").is_file():
            assert len(read_split(name, shared_data / "glue", split).first) in row.counts[split]


def test_the_mismatched_and_the_diagnostic_sets(tmp_path):
    write_glue(tmp_path, "mnli", "mnli-mismatched", "ax")
    write_split(tmp_path, "mnli-mismatched", "dev", rows=9)
    data = read_glue("mnli", tmp_path, check_counts=False)
    assert (len(data.dev.first), len(data.other_devs["_mismatched"].first)) == (12, 9)
    assert TextTask(None, data).metrics == ("accuracy", "accuracy_mismatched")
    for name, rows in (("mnli-mismatched", "9,847"), ("ax", "1,104")):
        assert len(read_split(name, tmp_path, "test", check_counts=False).first) == 6
        with pytest.raises(UserError, match=f"6 examples where {rows} were published"):
            read_split(name, tmp_path, "test")
    (tmp_path / "MNLI/dev_matched.tsv").rename(tmp_path / "MNLI/dev.tsv")
    (tmp_path / "MNLI/dev_mismatched.tsv").unlink()
    alone = read_glue("mnli", tmp_path, check_counts=False)
    assert not alone.other_devs and TextTask(None, alone).metrics == ("accuracy",), "dev.tsv is no mismatched set"


def test_the_hubs_mismatched_set(tmp_path):
    (tmp_path / "mnli").mkdir()
    table = pyarrow.table({"premise": ["a"], "hypothesis": ["b"], "label": [2]})
    for split in ("train", "validation_matched", "validation_mismatched"):
        pyarrow.parquet.write_table(table, tmp_path / "mnli" / f"{split}-00000-of-00001.parquet")
    mismatched = read_glue("mnli", tmp_path, check_counts=False).other_devs["_mismatched"]
    assert GLUE["mnli"].spec.labels[mismatched.targets[0]] == "contradiction"


def test_what_is_absent_is_said(tmp_path):
    write_split(tmp_path, "qnli", "dev")
    assert why_absent("rte", tmp_path, "train") == f"{tmp_path}: no folder RTE or rte in it"
    assert why_absent("rte", tmp_path / "none", "train") == f"{tmp_path}/none: no such folder"
    assert why_absent("qnli", tmp_path, "dev") is None
    assert why_absent("qnli", tmp_path, "train", "dev").startswith(f"{tmp_path}/QNLI/train.tsv: no such file")
    (tmp_path / "QNLI/train-00000-of-00002.parquet").touch()
    with pytest.raises(UserError, match="1 of 00002"):
        why_absent("qnli", tmp_path, "train")


def test_the_real_diagnostic_set(shared_data):
    if not (shared_data / "glue" / "diagnostic").is_dir():
        pytest.skip("no diagnostic in the shared data")
    assert len(read_split("ax", shared_data / "glue", "test").first) == 1104


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_blank_lines_and_endings_change_nothing(tmp_path, end):
    """Quotes mean nothing in GLUE's files, and stay."""
    lines = ["index\tsentence1\tsentence2\tlabel", '0\t"a b\tc" d\tentailment', '1\tx\u2028y\t"\tnot_entailment']
    (tmp_path / "RTE").mkdir()
    for name in ("train.tsv", "dev.TSV"):
        content = "\ufeff" + end.join([*lines[:2], "", lines[2], "", ""])
        (tmp_path / "RTE" / name).write_bytes(content.encode())
    data = read_glue("rte", tmp_path, check_counts=False)
    for examples in (data.train, data.dev):
        assert (examples.first, examples.second) == (['"a b', "x\u2028y"], ['c" d', '"'])
        assert examples.targets.tolist() == [0, 1]


def test_folders_and_files_in_capitals_are_the_same(tmp_path):
    for split in ("Train", "DEV"):
        path = write_tsv(tmp_path, "rte", split.lower())
        path.rename(path.with_name(f"{split}.TSV"))
    path.parent.rename(tmp_path / "Rte")
    data = read_glue("rte", tmp_path, check_counts=False)
    assert data.dev.num_examples and read_dev_labels("rte", tmp_path)[1].tolist() == data.dev.targets.tolist()
    (tmp_path / "Rte/dev.tsv").write_text("")
    with pytest.raises(UserError, match=r"both DEV.TSV and dev.tsv"):
        read_glue("rte", tmp_path, check_counts=False)


def test_a_label_that_is_none_is_left_out_in_training_and_an_error_in_grading(tmp_path):
    """Without its row, all indices of predictions after it would be of other rows."""
    path = write_tsv(tmp_path, "mnli", "dev")
    write_tsv(tmp_path, "mnli", "train")
    path.write_text(path.read_text() + path.read_text().splitlines()[1].replace("neutral", "-") + "\n")
    data = read_glue("mnli", tmp_path, check_counts=False, skip_malformed=True)
    assert data.dev.num_examples == 2 and "gold_label is '-'" in data.dev.notes[0]
    with pytest.raises(UserError, match=r"dev_matched.tsv, line 4: gold_label is '-'"):
        read_dev_labels("mnli", path)
