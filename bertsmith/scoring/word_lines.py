"""Word-per-line files: a word and its columns a line, sentences between blank lines; CoNLL-2000's layout. Gold and
predicted tags out of them.

Columns are parted by spaces or tabs, of which a word may contain the other kinds that Unicode has. What is no word:

- a blank line, be it of spaces of any kind, and a line -X-, as for `conlleval`: they end a sentence;
- a line -DOCSTART-, whatever its columns: it ends a sentence too;
- a comment: a line that begins with # and stands before its sentence's first word, unless it has as many columns as
  the words and a tag that words have, for then it is the word # or a hashtag.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError, quoted
from bertsmith.scoring.entities import Tag, parse_tag
from bertsmith.scoring.malformed import Malformed
from bertsmith.storage.files import LINE_END, read_text

BETWEEN = re.compile(r"[ \t]+")

BOUNDARY = "-X-"
"""In the place of a word it ends a sentence, as a blank line does; so `conlleval` has it."""

DOCUMENT = "-DOCSTART-"
"""In the place of a word it begins a document, in CoNLL-2003's layout."""

KEY_AND_VALUE = re.compile(r"#\s*[\w.:-]+\s+=(\s|$)")
"""A comment of CoNLL-U: "# text = …"."""

INSERTED = re.compile(r"\d+[-.]\d+")
"""In CoNLL-U's column of numbers, a token of several words ("3-4"), or a word that is not written ("8.1")."""


class Word(NamedTuple):
    """One line of a word-per-line file."""

    line: int
    columns: list[str]


def read_words(path: Path, documents: bool = False, malformed: Malformed | None = None) -> list[list[Word]]:
    """Return the sentences of a file, at least one, with the same number of columns in every line.

    Args:
        documents: take lines -DOCSTART- for words, which end no sentence.
        malformed: what is done with sentences that have a malformed line.

    Raises:
        UserError: the file is missing, not UTF-8 or without words; a line has another number of columns than the first;
            a line may be a comment or a word.
    """
    malformed = malformed or Malformed("sentences")
    lines = list(_lines(path))
    surely = _surely_words(lines)
    num_columns = Counter(len(word.columns) for word in surely).most_common(1)[0][0] if surely else 0
    tags = {word.columns[-1] for word in surely}
    sentences: list[list[Word]] = [[]]
    unusable: set[int] = set()
    is_first = True
    for word in lines:
        is_document = bool(word.columns) and word.columns[0] == DOCUMENT
        if _is_blank(word) or (is_document and not documents):
            is_first = True
            if sentences[-1]:
                sentences.append([])
            continue
        if is_first and surely:
            is_comment = malformed.read_or_skip(_is_comment, path, word, num_columns, tags)
            if is_comment is None:
                unusable.add(len(sentences))
            if is_comment or is_comment is None:
                continue
        num_columns = num_columns or len(word.columns)
        is_checked = not is_document and len(sentences) not in unusable
        if is_checked and malformed.read_or_skip(_check_columns, path, word, num_columns) is None:
            unusable.add(len(sentences))
        is_first = is_document
        sentences[-1].append(word)
    kept = [sentence for number, sentence in enumerate(sentences, start=1) if sentence and number not in unusable]
    if not kept:
        left_out = f" ({malformed.note()[0]})" if malformed.count else ""
        raise UserError(f"{path}: no words in this file{left_out}")
    return kept


def _check_columns(path: Path, word: Word, num_columns: int) -> Word:
    """Return the word. Raises UserError where its line has another number of columns."""
    if len(word.columns) != num_columns:
        raise UserError(
            f"{path}, line {word.line}: {len(word.columns)} columns where other lines have {num_columns}; fix the line"
        )
    return word


def refuse_numbers(path: Path, sentences: Sequence[Sequence[Word]]) -> None:
    """Raise UserError where the first column counts the words of each sentence, as in CoNLL-U: it is not the word."""
    for sentence in sentences:
        numbers = [word.columns[0] for word in sentence if not INSERTED.fullmatch(word.columns[0])]
        if numbers != list(map(str, range(1, len(numbers) + 1))):
            return
    first = max(sentences, key=len)[0]
    if len(first.columns) > 1 and max(map(len, sentences)) > 1:
        raise UserError(
            f"{path}, line {first.line}: the first column numbers the words, as in CoNLL-U; it has to be the word, and "
            f"the last one its tag: cut out the others (`grep -v '^#' {path.name} | cut -f 2,4` keeps columns 2 and 4)"
        )


def _lines(path: Path) -> Iterator[Word]:
    for number, text in enumerate(LINE_END.split(read_text(path)), start=1):
        if "\0" in text:
            raise UserError(
                f"{path}, line {number}: zero bytes, as UTF-16 has them, or as a power cut leaves them; convert the "
                f"file, or take them out"
            )
        columns = [column for column in BETWEEN.split(text) if column] if text.strip() else []
        yield Word(number, columns)


def _is_blank(word: Word) -> bool:
    return not word.columns or word.columns[0] == BOUNDARY


def _surely_words(lines: Sequence[Word]) -> list[Word]:
    """Return the lines that are words wherever comments are: without those that begin with # and have only such lines
    between them and their sentence's start."""
    words, is_first = [], True
    for word in lines:
        if _is_blank(word) or word.columns[0] == DOCUMENT:
            is_first = True
        elif not (is_first and word.columns[0].startswith("#")):
            is_first = False
            words.append(word)
    return words


def _is_comment(path: Path, word: Word, num_columns: int, tags: Collection[str]) -> bool:
    """Return whether a line before its sentence's first word is a comment; `tags` are those of the other lines. Raises
    UserError where it may be either."""
    if not word.columns[0].startswith("#"):
        return False
    if len(word.columns) != num_columns or KEY_AND_VALUE.match(" ".join(word.columns)):
        return True
    tag = word.columns[-1]
    if num_columns == 1 or tag in tags:
        return False
    if all(map(parse_tag, tags)):
        return parse_tag(tag) is None
    raise UserError(
        f"{path}, line {word.line}: begins with {quoted(word.columns[0], 40)} and ends with {quoted(tag, 40)}, a tag "
        f"that no other line has: a comment? take it out (a comment of another number of columns is passed over)"
    )


Tags = list[list[Tag]]
"""Of words, a list a sentence; there is a word in each."""


def read_tagging(gold: Path, predictions: Path | None = None) -> tuple[Tags, Tags]:
    """Return gold and predicted tags of the same words.

    A line -DOCSTART- is no word (for `conlleval` it is one, which all taggers get right), also where the predictions
    are tags alone and there is one for it.

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
        return _tags(gold, sentences, -2, hint), _tags(gold, sentences, -1, hint)
    tagged = read_words(predictions)
    are_tags_alone = len(tagged[0][0].columns) == 1
    if are_tags_alone and _num_words(tagged) != _num_words(sentences):
        whole = read_words(gold, documents=True)
        if _num_words(tagged) == _num_words(whole):
            _check_alike(gold, whole, predictions, tagged)
            tagged = _without_documents(tagged, whole)
    _check_alike(gold, sentences, predictions, tagged)
    hint = "the last column is the tag"
    return _tags(gold, sentences, -1, hint), _tags(predictions, tagged, -1, hint)


def _without_documents(tagged: Sequence[Sequence[Word]], whole: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Return `tagged`, whose sentences are those of `whole`, without what `whole` has as -DOCSTART-; a sentence ends
    there."""
    found: list[list[Word]] = []
    for tags, words in zip(tagged, whole, strict=True):
        found.append([])
        for tag, word in zip(tags, words, strict=True):
            if word.columns[0] == DOCUMENT:
                found.append([])
            else:
                found[-1].append(tag)
    return [sentence for sentence in found if sentence]


def _num_words(sentences: Sequence[Sequence[Word]]) -> int:
    return sum(map(len, sentences))


def _tags(path: Path, sentences: Sequence[Sequence[Word]], column: int, hint: str) -> Tags:
    known: dict[str, Tag] = {}
    for sentence in sentences:
        for word in sentence:
            text = word.columns[column]
            if text not in known:
                tag = parse_tag(text)
                if tag is None:
                    raise UserError(
                        f"{path}, line {word.line}: {quoted(text, 60)} is no tag; tags are O and B-, I-, E- or S- with "
                        f"a type ({hint})"
                    )
                known[text] = tag
    return [[known[word.columns[column]] for word in sentence] for sentence in sentences]


def _check_alike(
    gold: Path, sentences: Sequence[Sequence[Word]], predictions: Path, tagged: Sequence[Sequence[Word]]
) -> None:
    """Raise UserError at the first place where the files are not about the same words."""
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
                    f"{predictions}, line {other.line}: the word {quoted(other.columns[0], 60)}, which is "
                    f"{quoted(word.columns[0], 60)} in "
                    f"{gold}, line {word.line}; the first of several columns has to be the word"
                )
    if len(sentences) != len(tagged):
        raise UserError(
            f"{predictions}: {len(tagged):,} sentences, of which {gold} has {len(sentences):,}; one blank line ends "
            f"each, and there is a tag for every word"
        )
