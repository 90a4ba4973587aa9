"""Copies of remote files on this disk, by the hash of their content, up to a size; processes share them.

Whoever uses a copy holds a lock on it for as long as its file is open or mapped; others' are removed for a new one, the
oldest used first. A copy has its name once it is whole and its hash is right, and one process at a time fetches it.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import TEMPORARY, open_own, reported, temporary_of
from bertsmith.storage.places import CACHE_VARIABLE

CACHE_SIZE_VARIABLE = "BERTSMITH_CACHE_SIZE"
DEFAULT_CACHE_SIZE = "20GB"  # all shards of OpenWebText, about

_BLOCK = 8 << 20  # bytes that are fetched at once
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([kMGT]?)B?", re.ASCII)


def cache_size() -> int:
    """Return how many bytes of copies there may be: $BERTSMITH_CACHE_SIZE, such as 500MB or 1.5TB. Raises UserError
    where it is no such size."""
    text = os.environ.get(CACHE_SIZE_VARIABLE) or DEFAULT_CACHE_SIZE
    if not (found := _SIZE.fullmatch(text.strip())):
        raise UserError(f"{CACHE_SIZE_VARIABLE}={quoted(text, 40)}: a size is wanted, such as 500MB or 20GB")
    return int(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[found[2]])


class FileCache:
    """Files of known content in a folder that takes at most `max_bytes` of disk."""

    def __init__(self, folder: Path, max_bytes: int):
        """Make the folder. Raises UserError where it cannot be made or written."""
        self.folder, self.max_bytes = folder, max_bytes
        self._checked: set[tuple[int, ...]] = set()
        with reported(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def open(self, digest: str, size: int, fetch: Callable[[int, int], bytes], what: str) -> BinaryIO:
        """Open the file of this sha256 and size, which is fetched if it is not here. It stays here at least until it is
        closed, and no longer mapped.

        Args:
            fetch: returns the file's bytes from one position to another.
            what: the file's name in messages.

        Raises:
            UserError: what is fetched has another hash; there is no room for it, on the disk or in `max_bytes`; what
                `fetch` raises.
        """
        path = self.folder / digest
        with reported(self.folder):
            while True:
                if found := self._open_whole(path, digest, size):
                    return found
                self._fetch(path, digest, size, fetch, what)

    def _open_whole(self, path: Path, digest: str, size: int) -> BinaryIO | None:
        """Open a copy that is here, and lock it against being removed; None where it is not, or is damaged."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH)  # held by the file's mapping too, once it is mapped
            found = os.fstat(file.fileno())
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            is_right = found.st_nlink > 0 and found.st_size == size
            if is_right and stamp not in self._checked:
                is_right = hashlib.file_digest(file, "sha256").hexdigest() == digest
                file.seek(0)
            if is_right:
                self._checked.add(stamp)
                os.utime(file.fileno(), ns=(time.time_ns(), found.st_mtime_ns))  # when it was last used
                return file
            if found.st_nlink:
                path.unlink(missing_ok=True)
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def _fetch(self, path: Path, digest: str, size: int, fetch: Callable[[int, int], bytes], what: str) -> None:
        """Fetch a file, or wait for the process that does."""
        temporary = temporary_of(path)
        with os.fdopen(open_own(temporary, os.O_RDWR | os.O_CREAT), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() or not os.fstat(file.fileno()).st_nlink:  # another process has fetched or removed it
                return
            try:
                self._make_room(file, size, temporary.name, what)
                found = hashlib.sha256()
                for start in range(0, size, _BLOCK):
                    block = fetch(start, min(size, start + _BLOCK))
                    found.update(block)
                    file.write(block)
                file.flush()
                if file.tell() != size or found.hexdigest() != digest:
                    raise UserError(
                        f"{what}: is not what manifest.json says (its size or hash differs); prepare the data again"
                    )
                os.fsync(file.fileno())
                with in_turn(self.folder):  # whoever counts files meanwhile would miss one that is renamed
                    temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def _make_room(self, file: BinaryIO, size: int, name: str, what: str) -> None:
        """Take the room on disk that a file will need, and remove as many others as that takes."""
        with in_turn(self.folder):
            others = sorted(self._copies(name), key=lambda entry: entry[1].st_atime_ns)
            total = sum(status.st_size for _, status in others)
            while True:
                fault = ""
                if total + size > self.max_bytes:
                    fault = f"{self.max_bytes / 1e6:,.6g} MB for copies of remote files, all in use, are too few"
                else:
                    try:
                        _allocate(file, size)
                        return
                    except OSError as error:
                        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                            raise
                        fault = os.strerror(error.errno)
                while others:
                    path, status = others.pop(0)
                    if _remove_unused(path):
                        total -= status.st_size
                        break
                else:
                    raise UserError(
                        f"{self.folder}: no room for {what} ({size / 1e6:,.1f} MB): {fault}; free some, or set "
                        f"{CACHE_VARIABLE} to a folder elsewhere or {CACHE_SIZE_VARIABLE} to another size"
                    )

    def _copies(self, apart_from: str) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the files that are here, also those that are being fetched, or were when a process was killed."""
        for entry in os.scandir(self.folder):
            is_ours = re.fullmatch(rf"[0-9a-f]{{64}}({re.escape(TEMPORARY)})?", entry.name)
            if is_ours and entry.name != apart_from and entry.is_file(follow_symlinks=False):
                try:
                    yield Path(entry.path), entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # removed since
                    continue


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder; others wait."""
    with reported(folder):
        descriptor = open_own(folder / ".lock", os.O_RDWR | os.O_CREAT, may_be_linked=True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _remove_unused(path: Path) -> bool:
    """Remove a file that nobody has locked, and return whether that is done."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def _allocate(file: BinaryIO, size: int) -> None:
    """Take room for `size` bytes, before they are there, where the system can."""
    if size and hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
