"""Lines for people, on standard output and standard error."""

import contextlib
import sys

from bertsmith.errors import printable


def say(text: str = "", *, error: bool = False) -> None:
    """Print a line without control characters; to standard error with `error`, where a line that cannot be written is
    dropped: progress is never a reason to stop.

    Raises:
        OSError: standard output is closed or full.
    """
    if not error:
        print(printable(text))
        return
    with contextlib.suppress(OSError, ValueError):  # a full disk, a pipe without a reader, a closed stream
        print(printable(text), file=sys.stderr, flush=True)
