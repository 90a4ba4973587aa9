"""A share of a corpus that is prepared by itself, on a machine that need not know of the others."""

import re
from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import TEMPORARY
from bertsmith.text.data_folders import JOURNAL_FILE, refuse_other_type

MAX_SHARES = 99_999

_FOLDER = re.compile(r"part-(\d{5})-of-(\d{5})")


class Share(NamedTuple):
    """One of several shares of a corpus, such as the third of 16."""

    number: int  # from 1
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def folder_name(self) -> str:
        """The name of its folder in the data folder."""
        return f"part-{self.number:05d}-of-{self.total:05d}"

    def compare(self, position: int, num_bytes: int) -> int:
        """Return 0 for a position in a corpus of so many bytes that is this share's, -1 where it is an earlier one's,
        1 where it is a later one's."""
        found = min(self.total, position * self.total // max(1, num_bytes) + 1)  # an empty file is at the very end
        return (found > self.number) - (found < self.number)


def parse_share(text: str) -> Share:
    """Return the share that `part` names, as in "3/16". Raises UserError where there is no such one."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    number, total = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= total <= MAX_SHARES:
        raise UserError(f"part = {quoted(text, 40)}: a part and the number of parts are wanted, as in part=3/16")
    if not 1 <= number <= total:
        raise UserError(f"part = {quoted(text, 40)}: there is no such part; they are 1/{total} to {total}/{total}")
    return Share(number, total)


def share_folders(folder: Path) -> dict[Share, Path]:
    """Return the shares whose folders are in a data folder, in order; links are left out."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _FOLDER.fullmatch(path.name)
        share = Share(int(match[1]), int(match[2])) if match else Share(0, 0)
        if 1 <= share.number <= share.total and path.is_dir() and not path.is_symlink():
            found[share] = path
    return found


def refuse_beside_shares(folder: Path) -> None:
    """Raise UserError where a folder that is to hold shares holds something else than a data folder, whole or being
    made."""
    if (folder / "manifest.json").exists():
        refuse_other_type(folder, "data")
        return
    names = [] if (folder / JOURNAL_FILE).exists() else sorted(path.name for path in folder.iterdir())
    for name in names:
        if not name.startswith(".") and not name.endswith(TEMPORARY) and not _FOLDER.fullmatch(name):
            raise UserError(f"{folder}: not a folder of parts, there is {name} in it; choose another --out")
