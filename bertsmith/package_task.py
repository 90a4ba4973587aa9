"""The labelled task that the quickstart's text gives for free: which package is a text from, its name hidden?"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bertsmith.files import atomic_write, make_folder
from bertsmith.randomness import generator

HIDDEN = "_"
"""Stands where a name stood."""

MOST_CHARACTERS = 600
"""Of a text that are kept: more than the model reads."""

_NAMES = re.compile(
    r"\w*(?:torch|scipy|scikit|sklearn|numpy|sympy|networkx|python)\w*"  # also inside a word: PyTorch, to_numpy
    r"|\b(?:np|sp|nx|nn|py)\b",  # what they are imported as (np.array, nx.Graph), and the ending of Python's files
    re.IGNORECASE,
)


def hide_names(text: str) -> str:
    """`text` without the packages' names, in whatever spelling, and without the prefixes they are imported as."""
    return _NAMES.sub(HIDDEN, text)


def split_texts(
    texts: Sequence[tuple[str, str]], num_train: int, num_dev: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs (package, text) → those of dev, those of train, and all but dev's, in the order of `texts`.

    Dev's are kept from pre-training, so that no score is of a text that the model has seen; train's are not.
    """
    order = generator(0, "package task").permutation(len(texts)).tolist()
    dev = set(order[:num_dev])
    train = order[num_dev : num_dev + num_train]
    rest = [pair for number, pair in enumerate(texts) if number not in dev]
    return [texts[number] for number in sorted(dev)], [texts[number] for number in sorted(train)], rest


def write_task(folder: Path, train: Iterable[tuple[str, str]], dev: Iterable[tuple[str, str]]) -> None:
    """`folder`/train.jsonl and dev.jsonl with the fields "text", names hidden, and "package"."""
    make_folder(folder)
    for split, pairs in (("train", train), ("dev", dev)):
        write_texts(folder / f"{split}.jsonl", ((name, hide_names(text[:MOST_CHARACTERS])) for name, text in pairs))


def write_texts(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """JSON lines with the fields "package" and "text"."""
    with atomic_write(path, "w") as file:
        for package, text in pairs:
            file.write(json.dumps({"package": package, "text": text}, ensure_ascii=False) + "\n")
