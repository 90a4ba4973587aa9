"""The labelled task that the quickstart's text gives for free: are a sentence's words in order, or shuffled?

Both classes have the same number of sentences, drawn alike, and shuffling changes neither words nor length: what tells
them apart is only the order. No sentence comes twice in any order, dev's are of other documents than train's, and the
documents of both are kept from pre-training, as is every sentence that one of the other documents has as well.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bertsmith.randomness import derived_rng
from bertsmith.storage.files import atomic_write, make_folder, read_text
from bertsmith.storage.json_files import check_shape, parse_json

IN_ORDER, SHUFFLED = "in order", "shuffled"

MIN_SENTENCE_WORDS, MAX_SENTENCE_WORDS = 6, 18  # of a sentence that is used

_SENTENCE = re.compile(
    r"(?:(?<=[.!?]\s)|(?<=\n\n)|\A)"  # after another sentence, or where a paragraph begins
    rf"([A-Z][a-z]*(?:[ \n][ ]*[A-Za-z]+){{{MIN_SENTENCE_WORDS - 1},{MAX_SENTENCE_WORDS - 1}}})\.(?=\s|\Z)"
)


class Example(NamedTuple):
    """A sentence, and whether its words are in order or shuffled."""

    text: str
    label: str


class SentenceSplit(NamedTuple):
    """The labelled task, and the documents left for pre-training."""

    train: list[Example]
    dev: list[Example]
    rest: list[tuple[str, str]]


def sentences(text: str) -> Iterator[list[str]]:
    """Yield the words of each sentence that has words and nothing else: code and formulas have another order."""
    for match in _SENTENCE.finditer(text):
        yield match[1].split()


def split_texts(texts: Sequence[tuple[str, str]], num_train: int, num_dev: int) -> SentenceSplit:
    """Split pairs (package, text) into sentences of some of them, and the others in the order of `texts`.

    Documents are taken in an order drawn at random, for dev first, until there are enough; fewer where they run out.
    """
    rng = derived_rng(0, "order task")
    owners: dict[str, int] = {}
    shared = set()
    for number, (_, text) in enumerate(texts):
        for words in sentences(text):
            if owners.setdefault(_bag(words), number) != number:
                shared.add(_bag(words))
    left = iter(rng.permutation(len(texts)).tolist())
    taken: set[int] = set()
    parts = []
    for wanted in (num_dev, num_train):
        part: list[Example] = []
        while len(part) < wanted and (chosen := next(left, None)) is not None:
            taken.add(chosen)
            for words in sentences(texts[chosen][1]):
                if _bag(words) in shared:
                    continue
                shared.add(_bag(words))  # twice in one document
                if other := _shuffled(words, rng):
                    chosen_words, label = (words, IN_ORDER) if len(part) % 2 == 0 else (other, SHUFFLED)
                    part.append(Example(" ".join(chosen_words) + ".", label))
        parts.append(part[:wanted])
    dev, train = parts
    return SentenceSplit(train, dev, [pair for number, pair in enumerate(texts) if number not in taken])


def _bag(words: Sequence[str]) -> str:
    """Return a key that is the same for the same words in any order, capitals apart."""
    return " ".join(sorted(word.lower() for word in words))


def _shuffled(words: Sequence[str], rng: np.random.Generator) -> list[str] | None:
    """Shuffle the words between the first and the last, so that capital and full stop tell nothing; None where no other
    order is."""
    inner = list(words[1:-1])
    if len({word.lower() for word in inner}) < 2:
        return None
    while True:
        other = [inner[place] for place in rng.permutation(len(inner))]
        if [word.lower() for word in other] != [word.lower() for word in inner]:
            return [words[0], *other, words[-1]]


def write_task(folder: Path, split: SentenceSplit) -> None:
    """Write `folder`/train.jsonl and dev.jsonl with the fields "text" and "label"."""
    make_folder(folder)
    for name, examples in (("train", split.train), ("dev", split.dev)):
        with atomic_write(folder / f"{name}.jsonl", "w") as file:
            file.writelines(json.dumps(example._asdict(), ensure_ascii=False) + "\n" for example in examples)


def write_texts(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Write JSON lines with the fields "package" and "text"."""
    with atomic_write(path, "w") as file:
        for package, text in pairs:
            file.write(json.dumps({"package": package, "text": text}, ensure_ascii=False) + "\n")


def read_task(folder: Path, name: str) -> list[Example]:
    """Read a file of `write_task`; raises UserError where it is missing or damaged."""
    path = folder / f"{name}.jsonl"
    rows = [
        parse_json(line, str(path), dict, number)
        for number, line in enumerate(read_text(path).split("\n"), start=1)
        if line
    ]
    check_shape(rows, [{"text": str, "label": str}], str(path), "rows")
    return [Example(row["text"], row["label"]) for row in rows]


def tfidf_accuracy(train: Sequence[Example], dev: Sequence[Example]) -> float:
    """Return the accuracy on dev of logistic regression on TF-IDF of words and of pairs of neighbouring words.

    Its regularisation is chosen on train, by five-fold cross-validation.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+"), LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0, 10.0, 100.0]}, cv=5)
    search.fit([example.text for example in train], [example.label for example in train])
    return float(search.score([example.text for example in dev], [example.label for example in dev]))
