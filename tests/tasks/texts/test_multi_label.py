"""Journeys of a task with any number of labels a text: learnt, written down, exported, asked; and what is refused."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import transformers

import bertsmith
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.tasks.answer_kinds.labels import AnyLabels
from bertsmith.tasks.custom import CustomSettings
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.texts.examples import read_columns
from tests.predict.asking import predictions
from tests.tasks.texts.test_columns import write
from tests.tasks.toy_task import make_model, toy_recipe
from tests.toys import WORDS

TOPICS = ("art", "law", "sea")
MANY = CustomSettings(kind="multi-label")


def write_topics(folder, ending="tsv", topics=TOPICS):
    """Texts of words of none, some or all topics, which ten words each are of; 240 to train, 60 for dev."""
    rng = np.random.default_rng(0)
    path = folder / "topics"
    path.mkdir()
    for split, size in (("train", 240), ("dev", 60)):
        lines = [] if ending == "jsonl" else ["sentence\tlabel"]
        for _ in range(size):
            chosen = [topic for topic in range(len(topics)) if rng.random() < 0.5]
            words = [WORDS[10 * topic + rng.integers(5)] for topic in chosen for _ in range(2)]
            text, labels = " ".join([*words, WORDS[40 + rng.integers(10)]]), [topics[topic] for topic in chosen]
            row = {"sentence": text, "label": labels}
            lines.append(json.dumps(row) if ending == "jsonl" else f"{text}\t{' , '.join(labels)}")
        (path / f"{split}.{ending}").write_text("\n".join(lines) + "\n")
    return path


def recipe_of(model, data, *overrides):
    return toy_recipe(model, data, "custom.kind=multi-label", "seeds=1", "epochs=30", *overrides)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), embedding_size=16)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    finetune(recipe_of(model, write_topics(folder)), folder / "run")
    return folder / "run"


def test_it_is_learnt_and_written_down(run):
    results = json.loads((run / "results.json").read_text())
    assert list(results["summary"]) == ["f1_micro", "f1_macro", "subset_accuracy"]
    assert results["summary"]["subset_accuracy"]["median"] > 0.9
    lines = [line.split("\t") for line in (run / "trials/seed-0/predictions-dev.tsv").read_text().splitlines()]
    assert lines[0] == ["index", "prediction", "label"] and len(lines) == 61
    gold = (run.parent / "topics/dev.tsv").read_text().splitlines()[1:]
    assert [line[2] for line in lines[1:]] == [line.split("\t")[1].replace(" ", "") for line in gold]
    right = np.mean([predicted == label for _, predicted, label in lines[1:]])
    assert right == pytest.approx(results["trials"][0]["metrics"]["subset_accuracy"])


def test_what_predict_says(run):
    found = bertsmith.load(run, device="cpu")
    texts = [f"{WORDS[0]} {WORDS[1]} {WORDS[20]} {WORDS[21]}", WORDS[40], f"{WORDS[10]} {WORDS[11]}"]
    answers = found.classify(texts)
    assert [sorted(answer.labels) for answer in answers] == [["art", "sea"], [], ["law"]]
    assert list(answers[0].probs) == list(TOPICS) and answers[0].probs["law"] < 0.5 <= answers[0].probs["art"]
    several, none, one = predictions(found, texts)
    first, second = answers[0].labels
    probs = answers[0].probs
    assert several.parts == [f"{first} {probs[first]:.4f}  {second} {probs[second]:.4f}"]
    assert probs[first] >= probs[second]
    assert several.content == {"labels": [first, second], "probs": probs}
    assert none.parts == ["-"] and none.content["labels"] == [] and one.content["labels"] == ["law"]


@pytest.mark.parametrize("topics", [TOPICS, TOPICS[:1]])
def test_exported_it_says_the_same_in_transformers_and_here(model, tmp_path, monkeypatch, topics):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    finetune(recipe_of(model, write_topics(tmp_path, topics=topics), "epochs=1"), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report.values()), report
    assert theirs.config.problem_type == "multi_label_classification"
    text = f"{WORDS[0]} {WORDS[41]}"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = theirs.eval()(**tokenizer(text, return_tensors="pt")).logits[0].sigmoid()
    for path in (tmp_path / "run", tmp_path / "out"):
        probs = bertsmith.load(path, device="cpu").classify(text).probs
        assert list(probs) == list(topics)
        np.testing.assert_allclose(list(probs.values()), expected, atol=1e-5)


def test_every_layout_says_the_same(tmp_path):
    cells = write_topics(tmp_path)
    (tmp_path / "lists").mkdir()
    lists = write_topics(tmp_path / "lists", "jsonl")
    columnar = tmp_path / "parquet"
    columnar.mkdir()
    for split in ("train", "dev"):
        rows = [json.loads(line) for line in (lists / f"{split}.jsonl").read_text().splitlines()]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), columnar / f"{split}.parquet")
    first, *others = (read_columns(MANY, folder) for folder in (cells, lists, columnar))
    assert first.spec.labels == TOPICS and isinstance(first.spec.answers, AnyLabels)
    assert not first.train.targets.any(axis=1).all(), "some have none"
    for other in others:
        assert other.train.fingerprint() == first.train.fingerprint()


def test_numbers_in_order_and_another_separator(tmp_path):
    write(tmp_path, ["sentence\tlabel", "x\t10; 9,5", "y\t"], ["sentence\tlabel", "x\t9,5"])
    data = read_columns(CustomSettings(kind="multi-label", separator=";"), tmp_path)
    assert data.spec.labels == ("10", "9,5")
    assert data.train.targets.tolist() == [[True, True], [False, False]]
    assert data.dev.targets.tolist() == [[False, True]]
    write(tmp_path, ["sentence\tlabel", "x\t10, 9"], ["sentence\tlabel", "x\t9"])
    assert read_columns(MANY, tmp_path).spec.labels == ("9", "10")


TSV = ["sentence\tlabel", "x\tart,sea"]


@pytest.mark.parametrize(
    ("train", "dev", "ending", "message"),
    [
        (TSV, [*TSV, "x\tart", "y\tsee"], "tsv", r"dev.tsv, line 4: label has 'see'.* art, sea; did you mean 'sea'\?"),
        ([*TSV, "x\tart,,sea"], TSV, "tsv", r"train.tsv, line 3: label is 'art,,sea', with an empty label in it"),
        (["sentence\tlabel", "x\t"], TSV, "tsv", r"train.tsv: label has 0 different labels; a task has 1 to"),
        (['{"sentence": "x", "label": "art"}'], [], "jsonl", r"line 1: label is 'art'; it must be a list of label"),
        (
            ['{"sentence": "x", "label": [null]}'],
            [],
            "jsonl",
            r"line 1: label is \[None\]; it must be a list of labels",
        ),
    ],
)
def test_faults(tmp_path, train, dev, ending, message):
    write(tmp_path, train, dev or train, ending)
    with pytest.raises(UserError, match=message):
        read_columns(MANY, tmp_path)
