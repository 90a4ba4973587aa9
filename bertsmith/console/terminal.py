"""Lines for people and answers for programs, on standard output and standard error.

`say` writes results: that they cannot be written is an error. `tell` (on standard output) and `say(…, error=True)`
write what only accompanies the work: a reader that has gone, a full disk or a lost terminal is no reason to stop it.
Nothing else in the package prints (`tests/test_house.py`).
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from bertsmith.errors import escaped, printable
from bertsmith.storage.json_files import finite

_quiet = False


def be_quiet(quiet: bool) -> None:
    """Drop notes from now on, or no longer: of several processes that do one job, one speaks."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Return whether notes are dropped."""
    return _quiet


def say(text: str = "", *, error: bool = False) -> None:
    """Print a line of a result without control characters, with an OSError where it cannot be written; with `error`
    print a note on standard error, which is dropped where it cannot be written."""
    if error:
        if not _quiet:
            _try_to_write(sys.stderr, text)
    elif sys.stdout is not None:
        sys.stdout.write(printable(text) + "\n")


def tell(text: str = "") -> None:
    """Print a line on standard output that is no result ("wrote …", "next: …"), which is dropped where it cannot be
    written; results printed before it raise their OSError here."""
    if sys.stdout is not None and not _quiet:
        sys.stdout.flush()
        _try_to_write(sys.stdout, text)


def say_json(content: Any, indent: int | None = None) -> None:
    """Print a value as JSON, with escapes for characters that a terminal could take for a command, and null for a
    number that is not finite; raises OSError as `say`."""
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    say(escaped(text, lambda char: f"\\u{ord(char):04x}"))


def say_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], bold: Iterable[bool] = (), **options: Any
) -> None:
    """Print a table as wide as the terminal allows (160 characters where there is none); raises OSError as `say`.

    Args:
        rows: cells as plain text: nothing in them is markup, and control characters are escaped.
        bold: whether each row is bold; by default none is.
        options: of rich's Table, and "width" in characters, and "right" for columns flush right after the first.
    """
    from rich.console import Console, JustifyMethod
    from rich.table import Table
    from rich.text import Text

    width, right = options.pop("width", None), options.pop("right", False)
    table = Table(title=Text(printable(title)) if title else None, title_justify="left", pad_edge=False, **options)
    for number, heading in enumerate(headings):
        justify: JustifyMethod = "right" if right and number else "left"
        table.add_column(Text(printable(heading)), overflow="fold", no_wrap=heading == "setting", justify=justify)
    styles = iter(bold)
    for row in rows:
        style = "bold" if next(styles, False) else ""
        table.add_row(*(Text(printable(cell), style=style) for cell in row))
    console = Console(highlight=False)
    width = width or (console.width if console.is_terminal else 160)
    Console(width=width, highlight=False).print(table)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, the first column flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def open_streams() -> None:
    """Make the standard streams fit to write to, at the program's start.

    A closed one leads nowhere: left closed, its number would be that of the first file opened, and a library's warning
    would be written into that. A character that a stream's encoding lacks is escaped. A note on standard error that
    cannot be written is dropped, whoever writes it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, Tolerant):
        sys.stderr = Tolerant(sys.stderr)


def leave_standard_output() -> None:
    """Let what is still to be written there go nowhere, lest the interpreter tries once more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Tolerant:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            _drop_pending(self._stream)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _drop_pending(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _try_to_write(stream: Any, text: str) -> None:
    if stream is None:
        return
    tolerant = stream if isinstance(stream, Tolerant) else Tolerant(stream)
    tolerant.write(printable(text) + "\n")
    tolerant.flush()


def _drop_pending(stream: Any) -> None:
    """Empty the stream's buffer, whose content would be tried again with each write and when the interpreter ends, and
    fail each time. The stream stays as it is: a disk may have room later."""
    try:
        number = stream.fileno()
        kept = os.dup(number)
    except (OSError, ValueError, AttributeError):
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    finally:
        os.dup2(kept, number)
        os.close(kept)
