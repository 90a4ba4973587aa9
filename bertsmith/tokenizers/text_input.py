"""Texts as callers have them: str, or bytes in UTF-8; half a character is refused."""

import re
from collections.abc import Sequence

from bertsmith.errors import UserError, quoted

_SURROGATE = re.compile("[\ud800-\udfff]")


def as_text(text: str | bytes) -> str:
    """Return a text; what is not UTF-8 becomes U+FFFD."""
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text


def refuse_half_characters(texts: Sequence[str] | Sequence[bytes]) -> None:
    """Raise UserError where a text has a lone surrogate, which no library encodes."""
    for number, text in enumerate(texts, start=1):
        if isinstance(text, str) and not text.isascii() and (found := _SURROGATE.search(text)):
            raise UserError(
                f"text {number}: half a character ({quoted(found[0])}), as where an emoji was cut in two, or bytes "
                f"that are not UTF-8; fix the text"
            )
