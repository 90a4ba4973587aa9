"""Where copies of remote files are, and what to do where the system refuses a file its place."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from bertsmith.errors import UserError

CACHE_VARIABLE = "BERTSMITH_CACHE"


def cache_folder() -> Path:
    """Return the folder for copies of remote files: $BERTSMITH_CACHE, by default `bertsmith` in the user's own. Raises
    UserError where this user has none."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).absolute()
    users = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(users):
        return Path(users) / "bertsmith"
    try:
        return Path.home() / ".cache" / "bertsmith"
    except RuntimeError:  # as of a container's user without a name
        raise UserError(f"this user has no home folder, where copies would be; set {CACHE_VARIABLE}") from None


def remedy(error: OSError, *paths: str | Path) -> str:
    """Return the end of a message about an error of the system at one of these paths: what to do where a disk is full,
    or where the folder for copies, which the user may never have named, cannot be written; else nothing."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = ["free some room"] if is_full else []
    if is_full or error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        with suppress(UserError):
            if any(Path(path).is_relative_to(cache_folder()) for path in paths):
                said.append(f"set {CACHE_VARIABLE} to a folder elsewhere")
    return "; " + ", or ".join(said) if said else ""
