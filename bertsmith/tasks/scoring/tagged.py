"""Word-per-line files: a word and its columns a line, sentences between blank lines; CoNLL-2000's layout.

Columns are parted by spaces or tabs, of which a word may contain the other kinds that Unicode has.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError
from bertsmith.files import read_text
from bertsmith.tasks.scoring.entities import Tag, parse_tag

BETWEEN = re.compile(r"[ \t]+")

BOUNDARY = "-X-"
"""In the place of a word it ends a sentence, as a blank line does; so `conlleval` has it."""

DOCUMENT = "-DOCSTART-"
"""In the place of a word it begins a document, in CoNLL-2003's layout."""


class Word(NamedTuple):
    """One line."""

    line: int
    columns: list[str]


class Tagging(NamedTuple):
    """The tags of the same words, a list a sentence; there is a word in each."""

    gold: list[list[Tag]]
    predicted: list[list[Tag]]


def read_tagging(gold: Path, predictions: Path | None = None) -> Tagging:
    """Gold and predicted tags.

    A line -DOCSTART- is a word, as for `conlleval`, unless the file of predictions leaves all of them out, as ours do.

    Args:
        gold: its last column is the gold tag; without `predictions` that is the predicted one, and the gold tag is the
            column before, as `conlleval` reads it.
        predictions: its last column is the predicted tag. It may be the only one; otherwise the first column has to be
            the word.

    Raises:
        UserError: a file is missing or empty; a line has another number of columns than those before, or a tag that is
            neither BIO nor BIOES; the files differ in their sentences, in a sentence's length or in a word.
    """
    sentences = read_words(gold)
    if predictions is None:
        if len(sentences[0][0].columns) < 3:
            raise UserError(
                f"{gold}, line {sentences[0][0].line}: {len(sentences[0][0].columns)} columns; without a file of "
                f"predictions a line is a word, …, its gold tag and its predicted tag"
            )
        hint = "without a file of predictions the last two columns are the gold and the predicted tag"
        return Tagging(_tags(gold, sentences, -2, hint), _tags(gold, sentences, -1, hint))
    tagged = read_words(predictions)
    if _num_words(tagged) == _num_words(without := without_documents(sentences)):
        sentences = without
    _check_alike(gold, sentences, predictions, tagged)
    hint = "the last column is the tag"
    return Tagging(_tags(gold, sentences, -1, hint), _tags(predictions, tagged, -1, hint))


def read_words(path: Path) -> list[list[Word]]:
    """The sentences of a file, at least one, with the same number of columns in every line.

    Raises:
        UserError: the file is missing, not UTF-8 or empty; a line has another number of columns than the first.
    """
    sentences: list[list[Word]] = [[]]
    num_columns = 0
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        columns = [column for column in BETWEEN.split(text.rstrip("\r")) if column]
        if columns:
            num_columns = num_columns or len(columns)
            if len(columns) != num_columns:
                raise UserError(
                    f"{path}, line {number}: {len(columns)} columns where the lines before have {num_columns}; "
                    f"mend the line"
                )
            if columns[0] != BOUNDARY:
                sentences[-1].append(Word(number, columns))
        if (not columns or columns[0] == BOUNDARY) and sentences[-1]:
            sentences.append([])
    if not sentences[-1]:
        sentences.pop()
    if not sentences:
        raise UserError(f"{path}: no words in this file")
    return sentences


def without_documents(sentences: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """The same without lines -DOCSTART-, each of which ends a sentence and is none."""
    found: list[list[Word]] = []
    for sentence in sentences:
        found.append([])
        for word in sentence:
            if word.columns[0] != DOCUMENT:
                found[-1].append(word)
            elif found[-1]:
                found.append([])
    return [sentence for sentence in found if sentence]


def _num_words(sentences: Sequence[Sequence[Word]]) -> int:
    return sum(map(len, sentences))


def _tags(path: Path, sentences: Sequence[Sequence[Word]], column: int, hint: str) -> list[list[Tag]]:
    known: dict[str, Tag] = {}
    for sentence in sentences:
        for word in sentence:
            text = word.columns[column]
            if text not in known:
                tag = parse_tag(text)
                if tag is None:
                    raise UserError(
                        f"{path}, line {word.line}: {text!r} is no tag; tags are O and B-, I-, E- or S- with a type "
                        f"({hint})"
                    )
                known[text] = tag
    return [[known[word.columns[column]] for word in sentence] for sentence in sentences]


def _check_alike(
    gold: Path, sentences: Sequence[Sequence[Word]], predictions: Path, tagged: Sequence[Sequence[Word]]
) -> None:
    """Raises UserError at the first place where the files are not about the same words."""
    with_words = len(tagged[0][0].columns) > 1
    for wanted, given in zip(sentences, tagged, strict=False):
        if len(wanted) != len(given):
            raise UserError(
                f"{predictions}, line {given[0].line}: a sentence of {len(given)} words, which has {len(wanted)} in "
                f"{gold}, line {wanted[0].line}; a blank line ends a sentence"
            )
        for word, other in zip(wanted, given, strict=True):
            if with_words and word.columns[0] != other.columns[0]:
                raise UserError(
                    f"{predictions}, line {other.line}: the word {other.columns[0]!r}, which is {word.columns[0]!r} in "
                    f"{gold}, line {word.line}; the first of several columns has to be the word"
                )
    if len(sentences) != len(tagged):
        raise UserError(
            f"{predictions}: {len(tagged):,} sentences, of which {gold} has {len(sentences):,}; one blank line ends "
            f"each, and there is a tag for every word"
        )
