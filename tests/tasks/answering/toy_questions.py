"""Questions that a word decides: it is asked after, and the answer is what stands behind it in the context."""

import gzip
import json
from pathlib import Path

import numpy as np

from tests.toys import WORDS

MARKS, FILLERS, ANSWERS = WORDS[:4], WORDS[10:30], WORDS[40:70]


class Asked:
    """One question: its texts, where the answer is, and the answer, which may be none."""

    def __init__(self, draw: np.random.Generator, number: int, none: bool):
        mark, other = draw.choice(MARKS, size=2, replace=False)
        answer = " ".join(draw.choice(ANSWERS, size=draw.integers(1, 3)))
        before, between = (" ".join(draw.choice(FILLERS, size=draw.integers(2, 8))) for _ in range(2))
        ending = " ".join(draw.choice(FILLERS, size=draw.integers(1, 4)))
        self.id = f"q{number}"
        self.question = str(other if none else mark)
        self.context = f"{before} {mark} {answer} . {between} {ending}"
        self.start = len(f"{before} {mark} ")
        self.answer = "" if none else answer


def ask(size: int, seed: int, none: bool = False) -> list[Asked]:
    draw = np.random.default_rng(seed)
    return [Asked(draw, number, none and number % 3 == 0) for number in range(size)]


def squad(asked: list[Asked]) -> str:
    paragraphs = [
        {"context": one.context, "qas": [{
            "id": one.id, "question": one.question, "is_impossible": not one.answer,
            "answers": [{"text": one.answer, "answer_start": one.start}] if one.answer else [],
        }]}
        for one in asked
    ]  # fmt: skip
    return json.dumps({"data": [{"title": "toy", "paragraphs": paragraphs}]})


def mrqa(asked: list[Asked]) -> str:
    lines: list[dict] = [{"header": {"dataset": "toy"}}]
    for one in asked:
        span = [one.start, one.start + len(one.answer) - 1]
        detected = [{"text": one.answer, "char_spans": [span]}]
        question = {"qid": one.id, "question": one.question, "answers": [one.answer], "detected_answers": detected}
        lines.append({"context": one.context, "qas": [question]})
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def columns(asked: list[Asked]) -> str:
    rows = [f"{one.question}\t{one.context}\t{one.answer}" for one in asked]
    return "\n".join(["question\tcontext\tanswer", *rows]) + "\n"


def write_questions(folder: Path, layout: str) -> Path:
    """A folder of train and dev, 300 and 60 questions, in the layout squad-v1.1, squad-v2.0, mrqa or custom."""
    path = folder / layout
    path.mkdir()
    for seed, (split, size) in enumerate({"train": 300, "dev": 60}.items()):
        asked = ask(size, seed, none=layout == "squad-v2.0")
        if layout == "mrqa":
            (path / split).mkdir()
            (path / split / "NewsQA.jsonl.gz").write_bytes(gzip.compress(mrqa(asked).encode()))
        elif layout == "custom":
            (path / f"{split}.tsv").write_text(columns(asked))
        else:
            (path / f"{split}-{layout.removeprefix('squad-')}.json").write_text(squad(asked))
    return path
