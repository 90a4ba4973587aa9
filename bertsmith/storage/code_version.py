"""Which code is running: the commit that it was checked out from, and a hash of its files."""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1]
CODE_FILES = ("*.py", "*.toml")
"""The package's files that decide what it does: code and shipped recipes."""


class CodeVersion(NamedTuple):
    """The code of a package."""

    commit: str | None
    """Of the git checkout that the package lies in; None where it lies in none. Files may have been changed since."""
    sha256: str
    """Over the names and contents of the package's files, which changes with any of them."""


UNKNOWN_CODE = CodeVersion(None, "")
"""Stands in a manifest for the code of a run's part that was trained before manifests named it."""


@functools.cache
def code_version(package: Path = PACKAGE) -> CodeVersion:
    """Return the version of the code in the folder `package`. Git is not needed, and not run."""
    digest = hashlib.sha256()
    names = {path.relative_to(package).as_posix() for pattern in CODE_FILES for path in package.rglob(pattern)}
    for name in sorted(names):
        content = (package / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return CodeVersion(_commit(package.parent), digest.hexdigest())


def _commit(checkout: Path) -> str | None:
    """Return the commit of a git checkout, as its files say; None where it is none."""
    try:
        git = checkout / ".git"
        if git.is_file():  # of a further worktree: "gitdir: PATH"
            git = checkout / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return _checked(head)
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        for place in (git / name, shared / name):
            if place.is_file():
                return _checked(place.read_text(encoding="utf-8").strip())
        packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
        found = [line.split()[0] for line in packed if line.split()[1:] == [name]]
        return _checked(found[0]) if found else None
    except (OSError, UnicodeDecodeError):
        return None


def _checked(text: str) -> str | None:
    return text if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else None
