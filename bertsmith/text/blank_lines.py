"""Blank lines: one rule for all text, that of the reference, which strips lines as Python strips text.

A line ends with LF, CR LF or CR; it is blank if there are only spaces of Unicode in it, such as a no-break space, an
ideographic one, or a line separator.
"""

import re
from collections.abc import Iterator

_SPACE = (
    rb"(?:[\t\x0b\x0c\x1c-\x1f ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2(?:\x80[\x80-\x8a\xa8\xa9\xaf]|\x81\x9f)|\xe3\x80\x80)"
)
_END = rb"(?:\n|\r\n|\r(?!\n))"
_BLANK_LINES = re.compile(rb"\n(?:%s*\n)+" % _SPACE)
_BLANK_LINES_OF_ANY_ENDS = re.compile(rb"%s(?:%s*%s)+" % (_END, _SPACE, _END))
_PERHAPS_BLANK_LINES = re.compile(rb"(\n[\s\x1c-\x1f\x80-\xbf\xc2\xe1-\xe3]*\n)")
"""Lines of bytes that spaces are made of: all blank ones, at half the time that exactness takes."""


def unify_line_ends(text: bytes) -> bytes:
    """Return `text` with a line feed at the end of each line."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def split_at_blank_lines(text: bytes) -> Iterator[bytes]:
    """Return the texts between blank lines, without white space around them; none is empty."""
    text = b"\n%s\n" % unify_line_ends(text)
    parts = _PERHAPS_BLANK_LINES.split(text)
    exact = b"".join(parts[1::2]).isascii()
    return filter(None, map(bytes.strip, parts[::2] if exact else _BLANK_LINES.split(text)))


def find_blank_line(text: bytes) -> int | None:
    """Return the position after the first run of blank lines; None where there is none."""
    found = (_BLANK_LINES_OF_ANY_ENDS if b"\r" in text else _BLANK_LINES).search(text)
    return found.end() if found else None
