"""Values of a table's cells, as texts, labels, words, numbers: a function for each.

Each takes a value as a file's layout gives it (CSV and TSV text alone, JSON and Parquet other types too) and raises
`ValueError` where it is none, with the rest of a sentence whose subject is the column.
"""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from bertsmith.errors import quoted
from bertsmith.tables.cell_lists import is_python_bytes, is_python_object, is_python_set, listed
from bertsmith.tables.labels import MISSING_NAMES, Label, clean, decoded, ids_of, is_blank, key_of, label_of

Cell = Callable[[Any], Any]
"""Reads a cell's value."""

MAX_FLOAT32 = float(np.finfo(np.float32).max)

MAX_LISTED_NAMES = 20

_WHITE_SPACE = re.compile(r"[ \t\n\r\f\v]+")
"""Between words; a word may hold the other kinds that Unicode has, as in a file with a word a line."""
_TWO_TAGS = re.compile(r"\w,|,\w")
_BRACKETS = ("[]", "{}")
_LIST = 'write a list as JSON does, ["a", "b"]'
_NO_LIST = f"which is no list that can be read; {_LIST}"
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


def given_text(value: Any) -> str:
    """Return a text, whatever is in it."""
    if isinstance(value, bytes):
        return decoded(value)
    if not isinstance(value, str):
        raise ValueError(f"is {quoted(value, 80)}; it must be text")
    return value


def text(value: Any) -> str:
    """Return a text, empty where the value is missing; not what Python makes of bytes or of a list of words."""
    if is_missing(value):
        return ""
    written = given_text(value)
    if written[:2] in ("b'", 'b"') and is_python_bytes(written):
        raise ValueError(f"is {quoted(written, 80)}, bytes as Python writes them; write the text that they stand for")
    if written[:1] == "[":
        items = listed(written)
        if items and all(isinstance(item, str | bytes) for item in items):
            raise ValueError(f"is {quoted(written, 80)}, a list; write its words with spaces between")
    return written


def is_missing(value: Any) -> bool:
    """Return whether the value says that there is none: null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any) -> float:
    """Return a number that float32 can hold."""
    if isinstance(value, str | bytes):
        written = clean(given_text(value))  # and whatever was dropped was around it
        result = float(written) if _NUMBER.fullmatch(written) and written in given_text(value) else math.nan
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
    else:
        result = math.nan
    if math.isnan(result):
        raise ValueError(f"is {quoted(value, 80)}; it must be a number")
    if abs(result) > MAX_FLOAT32:
        raise ValueError(f"is {quoted(value, 80)}; it must be a number of at most {MAX_FLOAT32:.2g}, to be learnt")
    return result


def whole_number(value: Any) -> int:
    """Return a whole number, which may be written as 10.0."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if is_number and abs(value) < 10**18 and value == int(value):
        return int(value)
    raise ValueError(f"is {quoted(value, 80)}; it must be a whole number")


def words(value: Any) -> list[str]:
    """Return words: a list, or a text that white space separates, or that is a list as Python or NumPy writes it."""
    items = _items(value)
    if items is None or not all(isinstance(word, str) and word and not _WHITE_SPACE.search(word) for word in items):
        raise ValueError(
            f"is {quoted(value, 80)}; it must be words, or names of tags, in a list or separated by spaces"
        )
    for word in items:
        if is_python_bytes(word):
            raise ValueError(f"has {quoted(word, 80)}, bytes as Python writes them; write the text that they stand for")
    return items


def tags(value: Any) -> list[str]:
    """Return tags, as `words`, by their names."""
    names = [label_of(tag).name for tag in words(value)]
    if several := next((tag for tag in names if _TWO_TAGS.search(tag)), None):
        raise ValueError(f"has the tag {quoted(several, 60)}, with a comma in it; separate tags by spaces, or {_LIST}")
    return names


def _items(value: Any) -> list[Any] | None:
    if isinstance(value, bytes):
        value = given_text(value)
    if isinstance(value, str):
        if is_python_set(value):
            return None
        items = listed(value) if value[:1] in "[(an" else None
        # "[1]" is a word; "[1, 2]" is none that could be in a list of words.
        if items is None or (len(items) == 1 and not isinstance(items[0], str | bytes)):
            return [word for word in _WHITE_SPACE.split(value) if word]
        value = items
    if not isinstance(value, list):
        return None
    return [given_text(item) if isinstance(item, bytes) else item for item in value]


def label_set(separator: str, in_cells: bool) -> Cell:
    """Return the `Cell` of any number of labels.

    Args:
        separator: what separates them where a cell is a text and no list.
        in_cells: whether they may be such a text; an empty one is none.
    """

    def labels(value: Any) -> list[Label]:
        items = listed(value) if isinstance(value, str) and value.strip()[:1] in ("[", "(", "a", "n") else None
        if items is None and in_cells and isinstance(value, str):
            inside = value.strip()
            if is_python_set(inside) or is_python_object(inside) or inside[:1] + inside[-1:] in _BRACKETS:
                raise ValueError(f"is {quoted(value, 80)}, {_NO_LIST}")
            items = value.split(separator) if value.strip() else []
        elif items is None:
            items = value
        if not isinstance(items, list) or not all(isinstance(item, str | bytes | int | float) for item in items):
            raise ValueError(f"is {quoted(value, 80)}; it must be a list of labels, [] for none")
        if any(isinstance(item, str) and is_blank(item) for item in items):
            raise ValueError(
                f"is {quoted(value, 80)}, with an empty label in it; fix it (in a TSV or CSV custom.separator, now "
                f"{quoted(separator, 20)}, separates the labels)"
            )
        labels = [label_of(item) for item in items]
        if len({label.key for label in labels}) < len(labels):
            multi_hot = " (a vector of zeros and ones, multi-hot? Write its labels' names)"
            raise ValueError(
                f"is {quoted(value, 80)}, with a label twice{multi_hot if are_zeros_and_ones(labels) else ''}"
            )
        return labels

    return labels


def are_zeros_and_ones(labels: Sequence[Label]) -> bool:
    """Return whether these can be entries of a multi-hot vector."""
    return all(label.key in ("0", "1", "true", "false") for label in labels)


def class_id_of(labels: Sequence[str]) -> Cell:
    """Return the `Cell` of one of these labels, which gives its id."""
    ids = ids_of(labels)

    def id_of(value: Any) -> int:
        label = label_of(value)
        if label.key not in ids:
            raise ValueError(unknown(f"is {quoted(value, 80)}", label.name, labels))
        return ids[label.key]

    return id_of


def unknown(what: str, name: str, labels: Sequence[str]) -> str:
    """Return what is said of a label that a task does not have."""
    return f"{what}; the task's labels are {few_of(labels)}{did_you_mean(name, labels)}"


def few_of(names: Sequence[str]) -> str:
    """Return the first of them, for a message, and how many more there are."""
    more = len(names) - MAX_LISTED_NAMES
    cut = [name if len(name) <= 40 else f"{name[:39]}…" for name in names[:MAX_LISTED_NAMES]]
    return ", ".join(cut) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return the nearest of `names`, as the end of a message; empty where none is near."""
    import difflib

    near = difflib.get_close_matches(name[:100], names, n=1)
    return f"; did you mean {quoted(near[0], 60)}?" if near else ""


def optional_answer(value: Any) -> str:
    """Return the text of an answer, empty where it is missing or blank."""
    answer = text(value)
    return "" if is_blank(answer) else answer


def identifier(value: Any) -> str:
    """Return an id as text: a whole number as 10 where it is 10.0."""
    if isinstance(value, bytes):
        value = given_text(value)
    if is_missing(value) or isinstance(value, bool) or (isinstance(value, str) and is_blank(value)):
        raise ValueError(f"is {quoted(value, 80)}; it must be an id")
    if isinstance(value, str):
        return key_of(value) if re.fullmatch(r"[0-9]{1,18}\.0+", value.strip()) else value
    try:
        return str(whole_number(value))
    except ValueError:
        raise ValueError(f"is {quoted(value, 80)}; it must be an id, a text or a whole number") from None


def optional_place(value: Any) -> int | None:
    """Return a whole number, None where it is missing."""
    if is_missing(value) or (isinstance(value, str) and (is_blank(value) or value.strip() in MISSING_NAMES)):
        return None
    return whole_number(value)
