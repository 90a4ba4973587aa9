"""Word-per-line files → a tagging task: chunks and names in BIO or BIOES, or plain tags such as parts of speech."""

from pathlib import Path

from bertsmith.errors import UserError
from bertsmith.tasks.scoring.entities import parse_tag
from bertsmith.tasks.scoring.tagged import read_words
from bertsmith.tasks.task import MOST_LABELS, LabelledData, Sentences, Task

ENTITY_METRICS = ("f1", "precision", "recall", "accuracy")
"""Of chunks and names; the last one is of words."""

PLAIN_METRICS = ("accuracy",)


def read_chunking(data: Path) -> LabelledData:
    """CoNLL-2000's train.txt, and its dev.txt; where there is none, as there is none in the shared task, its test.txt.

    Raises:
        UserError: as `read_sentences`, and as `tagging_task`.
    """
    dev = data / "dev.txt"
    return tagging_task("chunk", data / "train.txt", dev if dev.is_file() else data / "test.txt")


def tagging_task(name: str, train_path: Path, dev_path: Path) -> LabelledData:
    """The task that the two files are.

    Raises:
        UserError: a file is missing, empty or malformed; training has one tag only, or tags of BIO and others as well;
            a tag of dev is none that the model could give.
    """
    train, dev = read_sentences(train_path), read_sentences(dev_path)
    labels, metrics = _labels(train)
    if not 2 <= len(labels) <= MOST_LABELS:
        raise UserError(
            f"{train.path}: {len(labels):,} different tags in the last column; tagging has 2 to {MOST_LABELS:,}"
        )
    known = set(labels)
    for word in dev.flat():
        if word.columns[-1] not in known:
            raise UserError(
                f"{dev.path}, line {word.line}: the tag {word.columns[-1]!r}, which {train.path.name} does not have; "
                f"mend the tag, or train on words that have it"
            )
    return LabelledData(Task(name, metrics, labels), train, dev)


def read_sentences(path: Path) -> Sentences:
    """The words of a file with their tags.

    Raises:
        UserError: the file is missing, not UTF-8 or empty; a line has one column, or another number of columns than
            the first.
    """
    words = read_words(path)
    first = words[0][0]
    if len(first.columns) < 2:
        raise UserError(
            f"{path}, line {first.line}: one column ({first.columns[0]!r}); a line is a word, …, and its tag, and a "
            f"blank line ends a sentence"
        )
    return Sentences(path, words)


def _labels(train: Sentences) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the model can give, and by what it is measured.

    Of BIO and BIOES that is O, and every type that training has with every prefix that it has: CoNLL-2000's test has an
    I-LST, of which its training has the B-LST only.
    """
    first = {word.columns[-1]: word for word in reversed(list(train.flat()))}
    parsed = {text: parse_tag(text) for text in first}
    others = sorted((text for text, tag in parsed.items() if tag is None), key=lambda text: first[text].line)
    if others and not any("-" in text for text, tag in parsed.items() if tag is not None):
        return tuple(sorted(parsed)), PLAIN_METRICS
    if others:
        entity = min((text for text, tag in parsed.items() if tag and "-" in text), key=lambda text: first[text].line)
        raise UserError(
            f"{train.path}, line {first[others[0]].line}: {others[0]!r} is no tag of BIO or BIOES, which {entity!r} in "
            f"line {first[entity].line} is; mend one, or leave plain tags only"
        )
    prefixes = sorted({tag.prefix for tag in parsed.values()} - {"O"})
    kinds = sorted({text.partition("-")[2] for text in parsed if text != "O"})
    found = (f"{prefix}-{kind}" if kind else prefix for kind in kinds for prefix in prefixes)
    return ("O", *found), ENTITY_METRICS
