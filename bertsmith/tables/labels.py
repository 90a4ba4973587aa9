"""Labels as tables write them: what makes two of them one label, and what a class is called."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.errors import UserError, quoted
from bertsmith.tables.cell_lists import is_python_bytes, is_python_object, is_python_set, is_unquoted_list, listed

MISSING_NAMES = frozenset(("nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NaT", "None", "null", "NULL"))
"""How pandas, Python and databases write a value that is not there, as text."""

MAX_LABEL_LENGTH = 500  # a longer one is a text, read by mistake

_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
"""They have a meaning inside words of some scripts and inside emoji, so they stay in a name."""
_BLANKS = "\u034f\u115f\u1160\u2800\u3164\uffa0"
"""Letters and marks that show nothing."""
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?")
_ANY_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_LONGEST_NUMBER = 40


class Label(NamedTuple):
    """A label in a cell."""

    key: str
    """The same for two labels that are one: of 1, 1.0 and "1" it is "1"."""
    name: str
    """As it is written, without white space around it and characters that do not show."""


def label_of(value: Any) -> Label:
    """Return the label that a cell's value is. Raises ValueError where it is none, saying why as the rest of a sentence
    whose subject is the column."""
    if isinstance(value, bytes):
        value = decoded(value)
    if isinstance(value, bool):
        name = str(value).lower()
        return Label(name, name)
    if isinstance(value, int | float | Decimal):
        if not math.isfinite(value):
            raise ValueError(f"is {value}, which is no label")
        name = str(value)
        key = _of_number(format(Decimal(name), "f"))
        return Label(key, name if key_of(name) == key else key)  # 1e+16 is written 10000000000000000
    if value is None or (isinstance(value, str) and is_blank(value)):
        raise ValueError(f"is {quoted(value)}; each example needs one label")
    if not isinstance(value, str):
        of_several = " (custom.kind=multi-label takes lists)" if isinstance(value, list) else ""
        raise ValueError(f"is {quoted(value, 80)}; each example needs one label{of_several}")
    return _of_text(value)


@lru_cache(maxsize=4096)
def _of_text(value: str) -> Label:
    name = clean(value)
    if name in MISSING_NAMES:
        raise ValueError(f"is {quoted(value)}, as a missing value is written; each example needs one label")
    if len(name) > MAX_LABEL_LENGTH:
        raise ValueError(
            f"is {quoted(value, 80)}, a text of {len(name):,} characters; a label has {MAX_LABEL_LENGTH} at most"
        )
    if is_python_bytes(name):
        raise ValueError(f"is {quoted(value, 80)}, bytes as Python writes them; write the text that they stand for")
    if is_python_object(name):
        raise ValueError(f"is {quoted(value, 80)}, an object as Python writes it; write what it stands for")
    if is_python_set(name) or is_unquoted_list(name) or listed(name) is not None:
        raise ValueError(
            f"is {quoted(value, 80)}, a list; each example needs one label (custom.kind=multi-label takes lists)"
        )
    return Label(_key(name), name)


def is_blank(text: str) -> bool:
    """Return whether nothing of `text` shows."""
    return not text.strip() or (len(text) < 100 and not clean(text))


def clean(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC), with one space for each stretch of white space, none at its ends,
    and without characters that do not show."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = " ".join(unicodedata.normalize("NFC", text).split())
    invisible = {char for char in text if char not in _JOINERS and unicodedata.category(char) in ("Cf", "Cc")}
    return " ".join("".join(char for char in text if char not in _BLANKS and char not in invisible).split())


def _key(name: str) -> str:
    if len(name) <= _LONGEST_NUMBER and _NUMBER.fullmatch(name):
        return _of_number(name)
    return name.lower() if name.lower() in ("true", "false") else name


def _of_number(text: str) -> str:
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    return "0" if text == "-0" else text


def _alike(key: str) -> str:
    """Return what two keys share that are hardly meant to be two labels: 01 and 1, true and 1, "a" in quotes and a."""
    if key in ("true", "false"):
        return str(int(key == "true"))
    if not key.isascii():
        key = unicodedata.normalize("NFKC", key)
    if len(key) <= _LONGEST_NUMBER and _ANY_NUMBER.fullmatch(key):
        return _of_number(format(Decimal(key), "f"))
    if len(key) > 2 and key[0] == key[-1] and key[0] in "\"'":
        return _alike(key[1:-1].strip())
    return "".join(char for char in key if char not in _JOINERS)


def class_names(labels: Iterable[tuple[Label, int]], path: Path, column: str) -> dict[str, str]:
    """Return names of a column's labels, which are given with their lines in the file `path`, by key: as they are
    written, or where one number is written in several ways (1 and 1.0) all numbers in the shortest. In numeric order
    where all are numbers, else alphabetical. Raises UserError where two labels can hardly be meant to be two."""
    spelled: dict[str, dict[str, int]] = {}
    for label, line in labels:
        spelled.setdefault(label.key, {}).setdefault(label.name, line)
    first: dict[str, str] = {}
    for key, names in spelled.items():
        other = first.setdefault(_alike(key), key)
        if other != key:
            (name, line), (other_name, other_line) = next(iter(names.items())), next(iter(spelled[other].items()))
            raise UserError(
                f"{path}, line {line}: {column} has {ascii_quoted(name)}, and {ascii_quoted(other_name)} in line "
                f"{other_line}; if they are one label write both alike, else give one another name"
            )
    unlike = any(len(names) > 1 for names in spelled.values())
    called: dict[str, str] = {}
    for key, names in spelled.items():
        has_other_spellings = _NUMBER.fullmatch(key) or key in ("true", "false") or len(names) > 1
        called[key] = key if unlike and has_other_spellings else next(iter(names))
    numbers = all(_NUMBER.fullmatch(key) for key in called)
    return dict(sorted(called.items(), key=lambda item: (Decimal(item[0]) if numbers else 0, item[1])))


def ascii_quoted(name: str) -> str:
    """Return `name` in quotes, with the escapes of what would not be seen in it."""
    return ascii(name) if any(char in _JOINERS for char in name) else quoted(name)


def key_of(name: str) -> str:
    """Return the key of a label that a model or a setting calls by its name."""
    return _key(clean(name))


def ids_of(labels: Sequence[str]) -> dict[str, int]:
    """Return key → id of a task's labels."""
    return {key_of(label): id for id, label in enumerate(labels)}


def alike_in_case(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of labels that differ in upper and lower case alone."""
    first: dict[str, str] = {}
    return [(other, label) for label in labels if (other := first.setdefault(label.casefold(), label)) != label]


def decoded(value: bytes) -> str:
    """Return the text of UTF-8. Raises ValueError where it is none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"is {quoted(value, 80)}, bytes that are not UTF-8") from None
