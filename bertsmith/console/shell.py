"""Commands for a person to copy into a shell."""

import os
import re
import shlex
from pathlib import Path

from bertsmith.errors import printable


def command(*words: object) -> str:
    """Return `words` as one line that a shell reads back as exactly these. A `Path` is written so that it is never
    taken for an option; None is left out."""
    return " ".join(quote(word) for word in words if word is not None)


def quote(word: object) -> str:
    r"""Return one word as a shell takes it: `my data` in quotes, a control character as in $'a\x1bb' (bash, zsh, ksh),
    a path that begins with a dash as `./-path`."""
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if printable(text) == text and not re.search(r"[\n\t]", text):
        return shlex.quote(text)
    return f"$'{''.join(map(_ansi, text))}'"


def _ansi(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if printable(char) == char and char not in "\n\t":
        return char
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
