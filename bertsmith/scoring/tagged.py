"""Gold and predicted tags of the same words, out of word-per-line files."""

from collections.abc import Sequence
from pathlib import Path

from bertsmith.errors import UserError, quoted
from bertsmith.scoring.entities import Tag, parse_tag
from bertsmith.scoring.word_lines import DOCUMENT, Word, read_words

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
                        f"{path}, line {word.line}: {quoted(text, 60)} is no tag; tags are O and B-, I-, E- or S- "
                        f"with a type "
                        f"({hint})"
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
