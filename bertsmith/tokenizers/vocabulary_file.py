"""A `vocab.txt` in, its tokens in the order of their ids out, as transformers reads it."""

from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import read_text
from bertsmith.tokenizers.definition import MAX_IDS, placeholder
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS

MAX_VOCABULARY_BYTES = 128 << 20  # the largest in use have about 15 MB
MAX_TOKEN_LENGTH = 10_000  # characters of a token

_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""White space that `tokenizers` strips from a line's end (Rust's, which is not Python's)."""


class Vocabulary(NamedTuple):
    """The tokens of a file, the number of the line less one being the id."""

    tokens: list[str]  # all different: a line that is empty, or whose token comes again further down, has a placeholder
    notes: tuple[str, ...]  # lines about such places
    all_different: bool
    """Whether there are as many different tokens as lines: transformers counts the ids of added tokens from there."""


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary of one token a line.

    A line ends with a line feed, or a carriage return and a line feed; no other character ends one. White space at its
    end is no part of a token, except where there is nothing else: such a token is white space. Raises UserError where
    the file cannot be read, is not UTF-8 or too large, or a special token is missing.
    """
    lines = read_text(path, MAX_VOCABULARY_BYTES).removesuffix("\n").split("\n")
    if len(lines) > MAX_IDS:
        raise UserError(f"{path}: more than {MAX_IDS:,} lines; a vocabulary has one token a line")
    places: dict[str, list[int]] = {}
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_TOKEN_LENGTH:
            raise UserError(f"{path}, line {number}: {len(line):,} characters; a vocabulary has one token a line")
        places.setdefault(line.rstrip(_SPACE) or line.removesuffix("\r"), []).append(number)
    check_special_tokens(places, str(path))
    empty = places.pop("", [])
    tokens = [""] * len(lines)
    for token, numbers in places.items():
        tokens[numbers[-1] - 1] = token
    free = {number - 1 for numbers in places.values() for number in numbers[:-1]} | {number - 1 for number in empty}
    for id in free:
        tokens[id] = placeholder(id, places)
    notes = [
        f"{path}: {quoted(token, 60)} stands in lines {_listed(numbers)}: the last counts, as in transformers, and the "
        f"ids of the others belong to no token"
        for token, numbers in places.items()
        if len(numbers) > 1
    ]
    if empty:
        notes.append(f"{path}: empty lines ({_listed(empty)}), whose ids belong to no token")
    if len(notes) > 5:
        notes[4:] = [f"{path}: … and {len(notes) - 4:,} more tokens that stand twice or lines that are empty"]
    distinct = {line.rstrip(_SPACE) for line in lines}
    return Vocabulary(tokens, tuple(notes), len(distinct) == len(lines))


def write_vocabulary(tokens: list[str]) -> str:
    """Return the text of a vocab.txt of these tokens. A token that a line cannot hold, such as one with a line feed, is
    a placeholder there, so that all others keep their ids."""
    known = set(tokens)
    return "".join(
        f"{token if _fits_a_line(token) else placeholder(id, known)}\n" for id, token in enumerate(tokens)
    )  # fmt: skip


def check_special_tokens(tokens: object, source: str) -> None:
    """Raise UserError unless all of `SPECIAL_TOKENS` are in the container `tokens`."""
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]  # type: ignore[operator]
    if missing:
        raise UserError(f"{source}: no {', '.join(missing)} in this vocabulary; BERT needs {' '.join(SPECIAL_TOKENS)}")


def _fits_a_line(token: str) -> bool:
    if not token or "\n" in token or len(token) > MAX_TOKEN_LENGTH or token.startswith("\ufeff"):
        return False
    return not token.endswith("\r") if not token.rstrip(_SPACE) else token == token.rstrip(_SPACE)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:4]))
    return f"{shown}, … ({len(numbers):,} of them)" if len(numbers) > 4 else shown
