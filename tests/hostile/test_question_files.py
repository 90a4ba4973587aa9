"""Files of questions, SQuAD's and MRQA's, and of predictions: what is read is what the file says, or refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from attack import attack, example, few_and_many
from mutation import mutated, mutated_json

from bertsmith.scoring.questions import read_mrqa, read_null_odds, read_predicted_texts, read_squad
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.grade import grade
from bertsmith.tasks.published.mrqa import read_mrqa_questions
from bertsmith.tasks.published.squad import read_questions

CONTEXT = "Ann Lee wrote it in May, in  Rome."
SQUAD = {
    "version": "v2.0",
    "data": [{"title": "a", "paragraphs": [{"context": CONTEXT, "qas": [
        {"id": "a1", "question": "Who?", "is_impossible": False, "answers": [{"text": "Ann Lee", "answer_start": 0}]},
        {"id": 7, "question": "When?",
         "answers": [{"text": "May", "answer_start": 20}, {"text": " ", "answer_start": 3}]},
        {"id": 8.0, "question": "Why?", "is_impossible": "true", "answers": []},
    ]}]}],
}  # fmt: skip
MRQA = [
    {"header": {"dataset": "x", "split": "dev"}},
    {"context": CONTEXT, "qas": [
        {"qid": "a1", "question": "Who?", "answers": ["Ann Lee"],
         "detected_answers": [{"text": "Ann Lee", "char_spans": [[0, 6]], "token_spans": [[0, 1]]}]},
        {"qid": 7, "question": "When?", "answers": ["May", "in May"],
         "detected_answers": [{"text": "may", "char_spans": [[20, 22]]}, {"text": "in May", "char_spans": [[17, 22]]}]},
    ]},
]  # fmt: skip
PREDICTIONS = {"a1": "Ann", "7.0": "in May", "8": ""}
ODDS = {"a1": 0.25, "7": -3, "8.0": 0.5}


def check(found: Questions, texts: dict[str, str]) -> None:
    """Each learnt answer stands in its context, and each question has the text that another reader finds."""
    assert len(found) and len(set(found.ids)) == len(found)
    for number, id in enumerate(found.ids):
        assert texts[id] == found.texts[number]
        for start, text in found.answers[number]:
            assert text.strip() == text != "" and found.context(number)[start : start + len(text)] == text


def as_id(value: Any) -> str:
    return value if isinstance(value, str) else str(int(value))


def read_squad_file(folder: Path) -> None:
    path = folder / "train.json"
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    asked = [
        question for article in content["data"] for paragraph in article["paragraphs"] for question in paragraph["qas"]
    ]
    gold = read_squad(path, answerable=False)
    assert gold == {
        as_id(question["id"]): [answer["text"] for answer in question["answers"] if answer["text"].strip()]
        for question in asked
    }
    check(read_questions(path, training=True), {as_id(question["id"]): question["question"] for question in asked})


def read_squad_first(folder: Path) -> None:
    read_squad(folder / "train.json", answerable=False)
    read_squad_file(folder)


def read_mrqa_file(folder: Path) -> None:
    [path] = folder.iterdir()
    gold = read_mrqa(path)
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig").split("\n")
    contents = [json.loads(line.removeprefix("\ufeff")) for line in lines if line.strip()]
    asked = [question for content in contents for question in content.get("qas", [])]
    assert list(gold) == [as_id(question["qid"]) for question in asked]
    assert all(answers and all(answer.strip() for answer in answers) for answers in gold.values())
    check(
        read_mrqa_questions(path, training=True), {as_id(question["qid"]): question["question"] for question in asked}
    )


def read_predictions(folder: Path) -> None:
    predicted, odds = read_predicted_texts(folder / "preds.json"), read_null_odds(folder / "odds.json")
    assert predicted == json.loads((folder / "preds.json").read_text(encoding="utf-8-sig"))
    assert odds == json.loads((folder / "odds.json").read_text(encoding="utf-8-sig"))
    found = grade("squad-v2.0", folder / "gold.json", folder / "preds.json", folder / "odds.json")
    assert all(0 <= found.scores[name] <= 100 for name in ("exact", "f1", "best_exact", "best_f1"))
    assert found.scores["total"] == 3


@few_and_many
@pytest.mark.parametrize("damage", ["bytes", "structure"])
def test_squad(examples: int, damage: str, tmp_path: Path):
    content = json.dumps(SQUAD, indent=1, ensure_ascii=False).encode()
    original = example(tmp_path, {"train.json": content})
    damaged = mutated(content) if damage == "bytes" else mutated_json(SQUAD)
    attack(damaged, examples, original, "train.json", read_squad_first, tmp_path)


@few_and_many
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_mrqa(examples: int, name: str, tmp_path: Path):
    content = "".join(json.dumps(line) + "\n" for line in MRQA).encode()
    content = gzip.compress(content) if name.endswith(".gz") else content
    original = example(tmp_path, {name: content})
    attack(mutated(content), examples, original, name, read_mrqa_file, tmp_path)


@few_and_many
def test_the_structure_of_mrqa(examples: int, tmp_path: Path):
    original = example(tmp_path, {"train.jsonl": json.dumps(MRQA[1])})
    attack(mutated_json(MRQA[1]), examples, original, "train.jsonl", read_mrqa_file, tmp_path)


@few_and_many
@pytest.mark.parametrize("name", ["preds.json", "odds.json"])
@pytest.mark.parametrize("damage", ["bytes", "structure"])
def test_predictions(examples: int, name: str, damage: str, tmp_path: Path):
    original = example(tmp_path, {})
    contents = {"gold.json": SQUAD, "preds.json": PREDICTIONS, "odds.json": ODDS}
    for file, content in contents.items():
        (original / file).write_text(json.dumps(content))
    whole = json.dumps(contents[name]).encode()
    damaged = mutated(whole) if damage == "bytes" else mutated_json(contents[name])
    attack(damaged, examples, original, name, read_predictions, tmp_path)
