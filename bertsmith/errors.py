"""Errors that a user can meet: a mistake that can be corrected, and a job that was asked to stop."""

import re
import signal
import unicodedata
from collections.abc import Callable

MAX_QUOTED = 200  # characters of a value that a message quotes
MAX_LINE = 600  # characters of a line of a message


class UserError(Exception):
    """A mistake in what bertsmith was given: a path, a setting, a file's content.

    The message names the thing, its value and the remedy, in one or two lines. The command line prints it without a
    traceback and exits with status 2; library users catch it like any other exception.
    """

    def __str__(self) -> str:
        """Return the message, without control characters and of bounded length: it may quote a file's content."""
        lines = super().__str__().split("\n")
        return printable("\n".join(shortened(_short_words(line), MAX_LINE) for line in lines))


class FilesNotFound(UserError):
    """The error of a task whose files are not where the recipe says."""


class Interrupted(Exception):
    """A job was asked to stop by a signal, and stopped where it can be continued.

    Attributes:
        number: the signal's.
        saved: where the job stands, in words; empty where it does not say.
    """

    def __init__(self, number: int, saved: str = ""):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.saved = saved


def printable(text: str) -> str:
    r"""Return `text` with whatever could steer a terminal escaped, as in `\x1b[2J`; line ends and tabs stay.

    Escaped are control characters (C0, C1), Unicode's format characters that turn the direction of text, line and
    paragraph separators, lone surrogates (bytes of a path that are not UTF-8), and code points that are no characters.
    """
    return escaped(text, _escape)


def escaped(text: str, escape: Callable[[str], str]) -> str:
    """Return `text` with `escape` of each character that `printable` escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in "\n\t" or not _steers(char) else escape(char) for char in text)


def _steers(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Cc", "Cs", "Zl", "Zp", "Cn", "Co") or unicodedata.bidirectional(char) in _DIRECTIONS


_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def shortened(text: str, limit: int = MAX_QUOTED) -> str:
    """Return `text` with an ellipsis for the middle of what has more than `limit` characters."""
    if len(text) <= limit:
        return text
    kept = (limit - 1) // 3
    return f"{text[: limit - 1 - kept]}…{text[-kept:]}"


def one_line(error: BaseException) -> str:
    """Return a library's error message, which may have several lines, on one."""
    return shortened(" ".join(str(error).split()))


def _short_words(line: str) -> str:
    """Shorten paths and other words without a blank in them that are longer than a message should quote."""
    return re.sub(rf"\S{{{MAX_QUOTED + 56},}}", lambda found: shortened(found[0]), line)


def quoted(value: object, limit: int = MAX_QUOTED) -> str:
    """Return `value` as a message quotes it: its `repr`, cut after `limit` characters."""
    if isinstance(value, str | bytes) and len(value) > limit:
        value, cut = value[:limit], "…"
    else:
        cut = ""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits; a list a thousand deep
        return f"a {type(value).__name__} that cannot be shown"
    return text[:limit] + "…" if len(text) > limit + 2 else text + cut
