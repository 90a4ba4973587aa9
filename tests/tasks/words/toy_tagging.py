"""A word-per-line task that the words decide: of ten each it is whether they are outside, or which part of a name."""

from pathlib import Path

import numpy as np

from tests.toys import WORDS


def write_tagging(folder: Path, *, plain: bool = False, ending: str = "txt") -> Path:
    """A folder of train and dev: entities of one or two words of a type, with an outside word between; 200 and 40
    sentences. `plain`: a tag a word class instead."""
    rng = np.random.default_rng(0)
    path = folder / "tagging"
    path.mkdir()
    for split, size in (("train", 200), ("dev", 40)):
        lines = []
        for _ in range(size):
            for _ in range(rng.integers(1, 4)):
                kind = int(rng.integers(2))
                first = 20 * kind
                words = [WORDS[first + rng.integers(10)]]
                if rng.random() < 0.5:
                    words.append(WORDS[first + 10 + rng.integers(10)])
                tags = ["NOUN", "VERB"] if plain else [f"B-{'XY'[kind]}", f"I-{'XY'[kind]}"]
                lines += [f"{word} {tag}" for word, tag in zip(words, tags, strict=False)]
                lines.append(f"{WORDS[40 + rng.integers(10)]} {'PUNCT' if plain else 'O'}")
            lines.append("")
        (path / f"{split}.{ending}").write_text("\n".join(lines) + "\n")
    return path
