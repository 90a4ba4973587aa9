"""A preparation whose data folder is behind an address.

Workers write shards there, each object whole. The journal, and tokens that are in no shard yet, are in a folder here,
since an object cannot be added to. A copy of the journal lies beside the shards, and another machine goes on from that
one; what was only here it makes again. The manifest is written last, and where it is missing, no reader takes this for
data.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.storage.files import Held, atomic_write, locked, make_folder, remove_tree
from bertsmith.storage.manifests import FOLDER_TYPES, TOKENIZER, read_manifest
from bertsmith.storage.places import cache_folder
from bertsmith.storage.remote import list_files, read_remote, remove_remote, upload
from bertsmith.text.data_files import fetch_description
from bertsmith.text.data_folders import JOURNAL_FILE
from bertsmith.text.journal import clear_data, journal_names
from bertsmith.text.journal_lines import read_journal
from bertsmith.text.shards import Data, open_data

COPY_SECONDS = 60.0  # of work that another machine makes again
MAX_COPY_SHARE = 0.02  # of the time, for copies of a journal that has grown large


class JournalCopy:
    """A copy of a journal behind an address, renewed from time to time."""

    def __init__(self, path: Path, address: str):
        """Write it, which shows at once whether that can be done; raises UserError where it cannot."""
        self._path, self._address, self._next = path, f"{address}/{JOURNAL_FILE}", 0.0
        self.renew()

    def renew(self) -> None:
        """Write it again, if it is time."""
        began = time.monotonic()
        if began >= self._next:
            upload(self._path, self._address)
            ended = time.monotonic()
            self._next = ended + max(COPY_SECONDS, (ended - began) / MAX_COPY_SHARE)


def work_folder(address: str) -> Path:
    """Return the folder here of what is prepared to an address."""
    return cache_folder() / "prepare" / hashlib.sha256(address.encode()).hexdigest()[:16]


def make_remote(
    address: str,
    make: Callable[[Held], None],
    refuse_other: Callable[[dict[str, Any]], None],
    overwrite: bool,
) -> Data:
    """Make the data folder at an address, go on with it, or find it finished.

    Args:
        make: makes what is left of it in the folder that it is given, its shards at the address.
        refuse_other: raises UserError where an identity is another one.

    Raises:
        UserError: something else is there; it cannot be written; shards that were made are gone; as `make`.
    """
    work = make_folder(work_folder(address))
    with locked(work) as held:
        there = list_files(address)
        if there and not there.keys() & {"manifest.json", JOURNAL_FILE}:
            raise UserError(f"{address}: not a data folder, there is {min(there)} in it; choose another --out")
        if overwrite:
            _clear(address, there, work)
            there = {}
        if "manifest.json" not in there:
            if not (work / "manifest.json").exists():
                _take_up(address, there, work, refuse_other)
                _make(address, work, held, make)
            _publish(address, work)
        data = open_data(address)
        refuse_other(data.manifest["identity"])
        remove_remote([f"{address}/{JOURNAL_FILE}"])  # there after a crash right after the manifest
        for path in work.iterdir():
            if path.name != ".lock":
                remove_tree(path)
        return data


def _take_up(address: str, there: dict[str, int], work: Path, refuse_other: Callable[[dict[str, Any]], None]) -> None:
    """Get the journal that knows more: the one here, or the copy that is there."""
    path = work / JOURNAL_FILE
    copy = read_remote(f"{address}/{JOURNAL_FILE}") if JOURNAL_FILE in there else b""
    if copy.count(b"\n") > (path.read_bytes().count(b"\n") if path.exists() else 0):
        with atomic_write(path) as file:
            file.write(copy)
    if path.exists():
        head, lines = read_journal(path)
        refuse_other(head["identity"])
        for name in (name for line in lines for name in line.get("files", ())):
            if name not in there:
                raise UserError(f"{address}/{name}: was made, and is gone; start again with --overwrite")


def _make(address: str, work: Path, held: Held, make: Callable[[Held], None]) -> None:
    try:
        make(held)
    except BaseException:
        if not (work / JOURNAL_FILE).exists():  # nothing was made that could be kept
            remove_remote([f"{address}/{JOURNAL_FILE}"])
        raise


def _publish(address: str, work: Path) -> None:
    """Write what is not yet there, the manifest last."""
    for name in TOKENIZER:
        if (work / name).exists():
            upload(work / name, f"{address}/{name}")
    Data(work, read_manifest(work, "data"), address).check_presence()
    upload(work / "manifest.json", f"{address}/manifest.json")


def _clear(address: str, there: dict[str, int], work: Path) -> None:
    """Remove the objects that a manifest or a journal of ours lists, and that last."""
    clear_data(work, "data")
    if "manifest.json" in there:
        last = "manifest.json"
        names = [*read_manifest(fetch_description(address), "data")["files"], *FOLDER_TYPES["data"].files]
    elif JOURNAL_FILE in there:
        last = JOURNAL_FILE
        with atomic_write(work / last) as file:
            file.write(read_remote(f"{address}/{last}"))
        names = journal_names(work / last)
        (work / last).unlink()
    else:
        return
    remove_remote([f"{address}/{name}" for name in names if name in there and name != last] + [f"{address}/{last}"])
