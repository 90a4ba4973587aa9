"""Texts to filter: English prose out of a few words, and what rules are there to drop."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from bertsmith.config.loading import load
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.text.corpora import CorpusRecipe, open_corpus

_NOUNS = """river bridge council teacher garden window letter market station engine painter harbour village doctor
library mountain kitchen student journey winter summer farmer captain island theatre forest machine
evening morning valley hospital festival soldier merchant railway factory museum orchard lantern castle"""
_VERBS = "crossed painted visited repaired described admired followed measured watched carried sold opened"
_ADJECTIVES = "old quiet narrow bright distant broken famous green heavy early pleasant curious wooden silver"
NOUNS, VERBS, ADJECTIVES = (words.split() for words in (_NOUNS, _VERBS, _ADJECTIVES))
GERMAN = (
    "Der Rat der Stadt hat am Dienstag beschlossen, die alte Brücke über den Fluss zu erneuern. Die Arbeiten sollen im "
    "Frühjahr beginnen und etwa zwei Jahre dauern. "
)


def prose(seed: int, sentences: int = 10) -> str:
    """Return sentences of English that the rules of `english-web` let pass."""
    draw = random.Random(seed)

    def sentence() -> str:
        def noun() -> str:
            return draw.choice(NOUNS)

        def adjective() -> str:
            return draw.choice(ADJECTIVES)

        return (
            f"The {adjective()} {noun()} {draw.choice(VERBS)} a {noun()} of the {adjective()} {noun()} and the "
            f"{noun()} near that {noun()} was {adjective()} to {noun()} and {noun()}."
        )

    return "\n\n".join(" ".join(sentence() for _ in range(sentences // 2)) for _ in range(2))


def planted() -> list[str]:
    """Return 30 texts of prose and what is dropped of the others: two equal ones, two nearly equal ones, three in
    German, a short one, one that repeats a line, one of code."""
    texts = [prose(seed) for seed in range(30)]
    near = [texts[number].replace("The ", "Our ", 1) for number in (15, 20)]
    code = prose(100).replace(".", ". {", 1)
    repeated = prose(101) + "\n" + "\n".join(["Read more about the garden of the castle here."] * 12)
    others = [
        texts[7],
        texts[11],
        *near,
        *(GERMAN * (2 + number) for number in range(3)),
        " ".join(prose(99, 2).split()[:44]),
        repeated,
        code,
    ]
    together = texts + others
    random.Random(5).shuffle(together)
    return together


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def recipe(corpus: Path, *more: str, name: str = "english-web") -> FilterRecipe:
    """Return the settings of a shipped recipe for JSON lines."""
    given = [f"corpus={corpus}", "layout=jsonl", *more]
    return load(FilterRecipe, "filter", name, given if "workers" in str(more) else [*given, "workers=1"]).settings


def kept_texts(folder: Path) -> list[str]:
    """Return the texts of a finished folder as `prepare` reads them."""
    corpus = open_corpus(CorpusRecipe(corpus=str(folder), layout="jsonl"))
    skipped: Counter[str] = Counter()
    found = [content.decode() for part in corpus.parts() for content in part.documents(skipped)]
    assert not skipped
    return found


def content(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
