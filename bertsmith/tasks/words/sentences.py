"""Sentences with tags → a tagging task: chunks and names in BIO or BIOES, or plain tags such as parts of speech.

A file has a word a line, or is a table with a sentence a row. As token rows, with the place of each word's first piece,
a sentence is [CLS] pieces … [SEP].
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertsmith.errors import UserError, quoted
from bertsmith.scoring.entities import parse_tag
from bertsmith.scoring.malformed import RUN_REMEDY, Malformed
from bertsmith.scoring.word_lines import Word, read_words, refuse_numbers
from bertsmith.storage.files import ending
from bertsmith.tables.cells import tags, words
from bertsmith.tables.files import read_table
from bertsmith.tasks.answer_kinds.labels import OneLabel
from bertsmith.tasks.custom import ENDINGS, WORD_ENDINGS, CustomSettings, find_file
from bertsmith.tasks.rows import Rows, TextIds, join_rows
from bertsmith.tasks.task_spec import MAX_LABELS, TaskData, TaskSpec
from bertsmith.tokenizers.tokenizer import Tokenizer

ENTITY_METRICS = ("f1", "precision", "recall", "accuracy")
"""Of chunks and names; the last one is of words."""

PLAIN_METRICS = ("accuracy",)


class Sentences(NamedTuple):
    """One split of a tagging task: N sentences, at least one word in each."""

    path: Path
    words: list[list[Word]]
    """A list a sentence; of a word's columns the first is the word, the last its tag."""
    notes: tuple[str, ...] = ()
    """Lines about sentences that were left out as malformed."""

    @property
    def num_examples(self) -> int:
        return len(self.words)

    @property
    def num_characters(self) -> int:
        return sum(len(word.columns[0]) for word in self.flat())

    def take(self, numbers: np.ndarray) -> "Sentences":
        """Return the sentences of these numbers, in this order."""
        return Sentences(self.path, [self.words[number] for number in numbers])

    def texts(self) -> list[list[str]]:
        return [[word.columns[0] for word in sentence] for sentence in self.words]

    def tags(self) -> list[list[str]]:
        return [[word.columns[-1] for word in sentence] for sentence in self.words]

    def flat(self) -> Iterator[Word]:
        """Return all words in order."""
        return (word for sentence in self.words for word in sentence)

    def fingerprint(self) -> str:
        """Return hex sha256 of words, tags and where sentences end, whatever file they came from."""
        digest = hashlib.sha256()
        for sentence in self.words:
            for word in sentence:
                digest.update(f"{word.columns[0]}\t{word.columns[-1]}\n".encode("utf-8", "surrogatepass"))
            digest.update(b"\n")
        return digest.hexdigest()


def read_custom_tagging(settings: CustomSettings, data: Path, *, skip_malformed: bool = False) -> TaskData:
    """Read the user's own files: one file train.* and one file dev.* in the folder `data`. Raises UserError where a
    file is missing, and as `read_sentences`, `read_sentence_rows` and `tagging_data`."""
    read = []
    for split in ("train", "dev"):
        path = find_file(data, split, WORD_ENDINGS + ENDINGS)
        if ending(path) in WORD_ENDINGS:
            read.append(read_sentences(path, skip_malformed=skip_malformed))
        else:
            read.append(read_sentence_rows(path, settings, skip_malformed=skip_malformed))
    return tagging_data("custom", *read, skip_malformed=skip_malformed)


def tagging_data(name: str, train: Sentences, dev: Sentences, *, skip_malformed: bool = False) -> TaskData:
    """Return the task that the two files are; with `skip_malformed` without dev's sentences that have a tag of no word
    of training. Raises UserError where training has one tag only, or tags of BIO and others as well; a tag of dev is
    none that the model could give."""
    labels, metrics = _labels(train)
    if not 2 <= len(labels) <= MAX_LABELS:
        raise UserError(f"{train.path}: {len(labels):,} different tags; tagging has 2 to {MAX_LABELS:,}")
    known, malformed = set(labels), Malformed("sentences", RUN_REMEDY, skip_malformed)

    def check(sentence: list[Word]) -> list[Word]:
        for word in sentence:
            if word.columns[-1] not in known:
                raise UserError(
                    f"{dev.path}, line {word.line}: the tag {quoted(word.columns[-1], 60)}, which {train.path.name} "
                    f"does not have; fix the tag, or train on words that have it"
                )
        return sentence

    sentences = [sentence for sentence in dev.words if malformed.read_or_skip(check, sentence)]
    if not sentences:
        raise UserError(f"{dev.path}: no examples in this file ({malformed.note()[0]})")
    spec = TaskSpec(name, metrics, OneLabel(labels), input="words")
    return TaskData(spec, train, dev._replace(words=sentences, notes=(*dev.notes, *malformed.note())))


def read_sentences(path: Path, *, skip_malformed: bool = False) -> Sentences:
    """Return the words of a file with their tags; with `skip_malformed` without sentences that have a malformed line.
    Raises UserError as `read_words` and `refuse_numbers`, and where a line has one column."""
    malformed = Malformed("sentences", RUN_REMEDY, skip_malformed)
    words = read_words(path, malformed=malformed)
    refuse_numbers(path, words)
    first = words[0][0]
    if len(first.columns) < 2:
        raise UserError(
            f"{path}, line {first.line}: one column ({quoted(first.columns[0], 60)}); a line is a word, …, and its "
            f"tag, and a blank line ends a sentence"
        )
    return Sentences(path, words, tuple(malformed.note()))


def read_sentence_rows(path: Path, settings: CustomSettings, *, skip_malformed: bool = False) -> Sentences:
    """Return the sentences of a table: a column of their words (`settings.text`) and one of their tags
    (`settings.label`). Raises UserError as `read_table`, and where a sentence has not as many tags as words."""
    named_by = {settings.label: "custom.label=…", settings.text: "custom.text=…"}
    if settings.text == settings.label:
        raise UserError(
            f"custom.text and custom.label are both {quoted(settings.text, 60)}; name the columns of words and tags"
        )

    def check(row: dict[str, Any]) -> None:
        num_words, num_tags = len(row[settings.text]), len(row[settings.label])
        if num_words != num_tags or not num_words:
            raise ValueError(f"{num_words} words and {num_tags} tags; each word has one tag")

    wanted = {settings.text: words, settings.label: tags}
    table = read_table(path, wanted, skip_malformed=skip_malformed, named_by=named_by, check=check)
    rows = zip(table.lines, table.columns[settings.text], table.columns[settings.label], strict=True)
    sentences = [[Word(line, list(both)) for both in zip(*row, strict=True)] for line, *row in rows]
    return Sentences(path, sentences, table.notes)


def _labels(train: Sentences) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the model can give, and by what it is measured.

    Of BIO and BIOES that is O, and every type that training has with every prefix that it has: CoNLL-2000's test has an
    I-LST, of which its training has the B-LST only.
    """
    first = {word.columns[-1]: word for word in reversed(list(train.flat()))}
    parsed = {text: None if text.endswith("-") else parse_tag(text) for text in first}  # "B-" names no type
    others = sorted((text for text, tag in parsed.items() if tag is None), key=lambda text: first[text].line)
    if others and not any("-" in text for text, tag in parsed.items() if tag is not None):
        return tuple(sorted(parsed)), PLAIN_METRICS
    if others:
        entity = min((text for text, tag in parsed.items() if tag and "-" in text), key=lambda text: first[text].line)
        raise UserError(
            f"{train.path}, line {first[others[0]].line}: {quoted(others[0], 60)} is no tag of BIO or BIOES, which "
            f"{quoted(entity, 60)} in line {first[entity].line} is; fix one, or leave plain tags only"
        )
    prefixes = sorted({tag.prefix for tag in parsed.values() if tag} - {"O"})
    types = sorted({text.partition("-")[2] for text in parsed if text != "O"})
    tags = (f"{prefix}-{type}" if type else prefix for type in types for prefix in prefixes)
    return ("O", *tags), ENTITY_METRICS


IGNORED = -100
"""In the place of a tag where there is none to give: at [CLS], at [SEP], and at a word's further pieces."""


class WordRows(NamedTuple):
    """N rows, one a sentence, of W words."""

    rows: Rows
    """`truncated` of them lost words."""
    ends: np.ndarray
    """[N] int64, counts of words: sentence i is the words `ends[i - 1]` to `ends[i]`."""
    kept: np.ndarray
    """[W] bool, whether a word is in its row: those that do not fit whole are left out, and all behind them."""
    row_of: np.ndarray
    """[K] int64, of each kept word; rising."""
    place_of: np.ndarray
    """[K] int64, of each kept word's first piece in that row."""
    unknown: np.ndarray
    """Numbers of the words that the tokenizer makes nothing of, a control character for example: they are [UNK]."""

    def scatter(self, values: np.ndarray, fill: int) -> np.ndarray:
        """Lay kept words' values [K] out as [N, L] int16, each at its word's first piece; `fill` elsewhere."""
        grid = np.full((len(self.ends), int(self.rows.lengths.max())), fill, dtype=np.int16)
        grid[self.row_of, self.place_of] = values
        return grid

    def gather(self, grid: np.ndarray, fill: int) -> np.ndarray:
        """Return the inverse, [N, L] → [W]; `fill` for words that are in no row."""
        values = np.full(len(self.kept), fill, dtype=np.int64)
        values[self.kept] = grid[self.row_of, self.place_of]
        return values


def encode_words(sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, length: int, segment: int = 0) -> WordRows:
    """Return rows of at most `length` tokens, all of one `segment`, in which each word is cut into pieces by itself.

    Source: google-research/electra, finetune/tagging/tagging_tasks.py.
    """
    num_words = np.array([len(words) for words in sentences])
    ids, id_ends = tokenizer.encode_words([word for words in sentences for word in words])
    pieces = np.diff(id_ends, prepend=0)
    unknown = np.flatnonzero(pieces == 0)
    ids = np.insert(ids, id_ends[unknown], tokenizer.unk_id)
    pieces[unknown] = 1
    firsts = np.cumsum(pieces) - pieces  # [W], into ids
    ends = np.cumsum(num_words)
    row_starts = np.append(firsts, len(ids))[ends - num_words]  # a sentence may be empty
    rows = np.repeat(np.arange(len(sentences)), num_words)
    places = firsts - row_starts[rows]
    kept = places + pieces <= length - 2
    lengths = np.bincount(rows, weights=pieces * kept, minlength=len(sentences)).astype(np.int64)
    num_kept = np.bincount(rows, weights=kept, minlength=len(sentences))
    truncated = int((num_kept < num_words).sum())
    joined = join_rows([TextIds(ids, row_starts, lengths)], (tokenizer.cls_id, tokenizer.sep_id), truncated)
    joined = joined._replace(segment_ids=np.full_like(joined.segment_ids, segment))
    return WordRows(joined, ends, kept, rows[kept], places[kept] + 1, unknown)
