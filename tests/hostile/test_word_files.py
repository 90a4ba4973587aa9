"""Word-per-line files, in fine-tuning and as predictions: every line is a word with its columns, or known not to be."""

import re
from pathlib import Path

from attack import attack, example, few_and_many
from mutation import SNIPPETS, mutated

from bertsmith.scoring.word_lines import read_tagging, read_words
from bertsmith.tasks.words.sentences import read_sentences

WORDS = (
    "-DOCSTART- -X- O O\n\n# id = 1\nEva NNP B-PER\nrief VBD O\n\u00a0\n#spring NN O\nRom NNP B-LOC\n\u2009x CD O\n\n"
    "# of two\r\nsie PRP O\r\n\r\n-X- - -\nnein UH O\n"
)
MORE = (*SNIPPETS, b"#", b"\n# ", b"-DOCSTART-", b"-X-", b"\n1\t", b"B-", b"I-X", "\u3000\n".encode())


def check_words(path: Path) -> None:
    found, seen = read_words(path), set()
    lines = re.split(r"\r\n|\r|\n", path.read_bytes().decode("utf-8-sig"))
    for sentence in found:
        assert sentence
        for word in sentence:
            assert word.columns == [part for part in re.split("[ \t]", lines[word.line - 1]) if part]
            seen.add(word.line)
    for number, line in enumerate(lines, start=1):
        first = line.strip(" \t").partition(" ")[0].partition("\t")[0]
        assert number in seen or not line.strip() or first in ("-DOCSTART-", "-X-") or first.startswith("#"), line


def read(folder: Path) -> None:
    check_words(folder / "train.txt")
    found = read_sentences(folder / "train.txt")
    assert all(len(sentence) for sentence in found.texts()) and found.fingerprint()


def read_predictions(folder: Path) -> None:
    check_words(folder / "tags.txt")
    gold, predicted = read_tagging(folder / "gold.txt", folder / "tags.txt")
    assert [len(tags) for tags in predicted] == [len(tags) for tags in gold] == [2, 3, 1, 1]


@few_and_many
def test_sentences(examples: int, tmp_path: Path):
    original = example(tmp_path, {"train.txt": WORDS.encode()})
    attack(mutated(WORDS.encode(), MORE), examples, original, "train.txt", read, tmp_path)


@few_and_many
def test_predicted_tags(examples: int, tmp_path: Path):
    original = example(tmp_path, {"gold.txt": WORDS.encode()})
    tags = b"Eva B-PER\nrief O\n\n#spring O\nRom I-LOC\n\xe2\x80\x89x O\n\nsie O\n\nnein O\n"
    (original / "tags.txt").write_bytes(tags)
    attack(mutated(tags, MORE), examples, original, "tags.txt", read_predictions, tmp_path)
