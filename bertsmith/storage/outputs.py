"""Which files a command may write to: new ones, and those that it wrote itself."""

from collections.abc import Callable
from pathlib import Path

from bertsmith.errors import UserError


def refuse_folder(path: Path) -> None:
    """Raise UserError where a file is to be written and a folder has its name."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a file to write")


def refuse_foreign_file(out: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Refuse to write over a file that is not one that we write.

    Args:
        is_ours: whether a file is such a one by its content.
        what: it, for the message.

    Raises:
        UserError: `out` is another file, which is not empty; or a folder.
    """
    refuse_folder(out)
    if out.exists() and out.stat().st_size and not is_ours(out):
        raise UserError(f"{out}: is there already and is no {what} of ours; name another file, or remove it")
