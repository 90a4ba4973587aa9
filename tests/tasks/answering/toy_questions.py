"""Questions of one word, which says of which kind of words the answer is; a third kind is in no context."""

import gzip
import json
from pathlib import Path

import numpy as np

from tests.toys import WORDS

ASKING, FILLERS = WORDS[:3], WORDS[10:20]
KINDS = (WORDS[40:50], WORDS[50:60])


class Asked:
    """One question: its texts, where the answer is, and the answer, which may be none."""

    def __init__(self, rng: np.random.Generator, number: int, none: bool):
        kind = int(rng.integers(2))
        stretches = [" ".join(rng.choice(words, size=rng.integers(1, 3))) for words in KINDS]
        fillers = [" ".join(rng.choice(FILLERS, size=rng.integers(1, 4))) for _ in range(3)]
        order = rng.permutation(2)
        self.id = f"q{number}"
        self.question = ASKING[2 if none else kind]
        self.context = f"{fillers[0]} {stretches[order[0]]} {fillers[1]} {stretches[order[1]]} . {fillers[2]}"
        self.answer = "" if none else stretches[kind]
        self.start = self.context.index(stretches[kind])


def ask(size: int, seed: int, none: bool = False) -> list[Asked]:
    """Every third is without an answer where there may be `none`."""
    rng = np.random.default_rng(seed)
    return [Asked(rng, number, none and number % 3 == 0) for number in range(size)]


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
    """A folder of train and dev, 200 and 60 questions, in the layout squad-v1.1, squad-v2.0, mrqa or custom."""
    path = folder / layout
    path.mkdir()
    for seed, (split, size) in enumerate({"train": 200, "dev": 60}.items()):
        asked = ask(size, seed, none=layout == "squad-v2.0")
        if layout == "mrqa":
            (path / split).mkdir()
            (path / split / "NewsQA.jsonl.gz").write_bytes(gzip.compress(mrqa(asked).encode()))
        elif layout == "custom":
            (path / f"{split}.tsv").write_text(columns(asked))
        else:
            (path / f"{split}-{layout.removeprefix('squad-')}.json").write_text(squad(asked))
    return path
