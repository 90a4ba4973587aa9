"""Files that are complete or absent: atomic writes, hashes, folder locks; and none is written through a link.

Every artefact is written under a temporary name in its own folder and renamed; a folder's manifest goes last, so that
its presence means the folder is complete. A rename is followed by an fsync of its folder, to survive a power cut.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from bertsmith.errors import UserError, shortened
from bertsmith.storage.places import remedy

LINE_END = re.compile(r"\r\n|\r|\n")
"""Without Unicode's other separators, which texts have inside of lines."""

TEMPORARY = ".bertsmith-partial"
"""Suffix of a file or folder of ours that is being written; after a crash such a one is removed."""


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends without an error. Raises UserError where the disk is
    full or the folder cannot be written; nothing is left behind."""
    temporary = temporary_of(path)
    encoding = None if "b" in mode else "utf-8"
    with reported(path):
        try:
            with os.fdopen(create(temporary), mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path, names: Collection[str] = ()) -> Iterator[Path]:
    """Give a fresh folder that takes the name `path` when the block ends without an error.

    An earlier folder of that name is replaced at the end; it may hold only the relative `names`.

    Raises:
        UserError: the earlier folder holds something else; the disk is full or cannot be written.
    """
    path = path.resolve() if path.is_symlink() else path
    temporary, old = temporary_of(path), temporary_of(path.with_name(f"{path.name}.old"))
    with reported(path):
        if old.is_dir() and not path.exists():  # killed between the two renames below
            old.rename(path)
        for leftover in (temporary, old):
            remove_tree(leftover)
        temporary.mkdir()
        try:
            yield temporary
            sync_folder(temporary)
            if path.is_dir():
                for name in others_in(path, names):
                    raise UserError(f"{path}: holds {name}, which we did not write; move it to another folder")
                path.rename(old)
            temporary.rename(path)
        except BaseException:
            if old.is_dir() and not path.exists():
                old.rename(path)
            remove_tree(temporary)
            raise
        remove_tree(old)
        sync_folder(path.parent)


def others_in(folder: Path, names: Collection[str], inside: str = "") -> list[str]:
    """Return the names in a folder that are none of these relative names, sorted; no link is followed."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name, is_folder = inside + entry.name, entry.is_dir(follow_symlinks=False)
        if is_folder and any(known.startswith(f"{name}/") for known in names):
            found += others_in(folder / entry.name, names, f"{name}/")
        elif is_folder or name not in names:
            found.append(name)
    return found


def temporary_of(path: Path) -> Path:
    """Return the name that `path` has while it is written."""
    return path.with_name(path.name + TEMPORARY)


def create(path: Path) -> int:
    """Return a descriptor of a new file to write, in place of the file or link of that name, which must be ours."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def open_own(path: Path, flags: int, may_be_linked: bool = False) -> int:
    """Return a descriptor of a file of ours that is written in place. Raises UserError where the name is a link's,
    which would lead elsewhere, or no regular file's; or where it has another name too, unless it `may_be_linked`."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: a symbolic link, and we write through none; remove it") from None
        raise
    found = os.fstat(descriptor)
    is_linked = found.st_nlink > 1 and not may_be_linked
    if not stat.S_ISREG(found.st_mode) or is_linked:
        os.close(descriptor)
        reason = "has a second name (a hard link), whose content would change too" if is_linked else "no file"
        raise UserError(f"{path}: {reason}; put a copy in its place, or remove it")
    return descriptor


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError where one of these names in a folder of ours is a link, through which we would write."""
    for name in names:
        if (folder / name).is_symlink():
            raise UserError(
                f"{folder / name}: a symbolic link in a folder that we write in, and we write through none; remove it"
            )


def own_folder(path: Path) -> Path:
    """Make a folder inside of one of ours, which must exist. Raises UserError where the name is a link's or a
    file's."""
    refuse_links(path.parent, [path.name])
    with reported(path):
        path.mkdir(exist_ok=True)
    return path


def remove_tree(path: Path) -> None:
    """Remove a file or folder of ours with all its content; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def begin_write_back(descriptor: int) -> None:
    """Have the system begin to put a file on disk, so that it is not waited for when it is synced later."""
    if hasattr(os, "posix_fadvise"):  # not on macOS. "Not needed" begins with what is to be written
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def sync_file(path: Path | str) -> None:
    """Return when a file's content would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` would survive a power cut."""
    with contextlib.suppress(OSError):  # there are file systems that cannot, and folders that may not be opened
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn errors of the operating system about `path` (no space, no permission) into a `UserError`."""
    try:
        yield
    except BrokenPipeError:  # of standard output, whose reader has gone
        raise
    except OSError as error:
        place = str(error.filename2 or error.filename or path)  # of a renaming the name that was wanted
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{place}: {reason}{remedy(error, place, path)}") from error


def make_folder(path: Path) -> Path:
    """Create `path` with its parents, and check now rather than hours later that it can be written."""
    with reported(path):
        path.mkdir(parents=True, exist_ok=True)
    probe = path / f"probe{TEMPORARY}"
    try:
        probe.unlink(missing_ok=True)  # a link of that name would be written through
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may look at the same moment
    except OSError as error:
        raise UserError(f"{path}: nothing can be written here ({error.strerror}){remedy(error, path)}") from error
    return path


def ending(path: Path) -> str:
    """Return the ending of a file's name, such as ".csv", in lower case: `.CSV` is the same."""
    return path.suffix.lower()


def files_named(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the regular files in `folder` with one of these names, in upper or lower case, in the names' order."""
    if not folder.is_dir():
        return []
    with reported(folder):
        there = sorted(path for path in folder.iterdir() if path.is_file())
    return [path for name in names for path in there if path.name.lower() == name.lower()]


def refuse_address(text: str, before: str = "") -> None:
    """Raise UserError where an address stands for a local path: `Path("s3://bucket")` is a folder called "s3:"."""
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
        raise UserError(
            f"{before}{shortened(text)}: an address ({found[1]}://), which only corpus= and --out of `prepare`, "
            f"corpus= of `tokenizer` and data= of `pretrain` and `evaluate` may be; give a local path"
        )


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """Return the text of a UTF-8 file, without a byte order mark. Raises UserError where it is missing, no regular
    file, larger than `max_bytes`, cannot be read or is not UTF-8."""
    with reported(path):
        if not path.is_file():
            raise UserError(f"{path}: {'not a regular' if path.exists() else 'no such'} file")
        with path.open("rb") as file:
            content = file.read() if max_bytes is None else file.read(max_bytes + 1)
    if max_bytes is not None and len(content) > max_bytes:
        raise UserError(f"{path}: larger than {max_bytes:,} bytes, the most that is read of such a file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; convert the file") from None


def write_text(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(content: Any) -> str:
    """Return the sha256 of the canonical JSON of `content`, in hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


OTHER_FILES = 64
"""That a process may have open beside those that it asks for: streams, pipes to workers, what it reads and writes."""


def allow_open_files(number: int) -> None:
    """Let this process have so many files open at a time, and some more. Raises UserError where the system does not."""
    number += OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (ValueError, OSError):  # more than the system lets it have
        raise UserError(
            f"{number:,} files have to be open at a time, and this process may have {soft:,}; raise the limit "
            f"(`ulimit -n {number}`, where need be by an administrator)"
        ) from None


class Held(NamedTuple):
    """A folder that this process has locked."""

    path: Path
    descriptor: int  # of the open folder

    def check(self) -> None:
        """Raise UserError where the folder is no longer there, or another one is in its place."""
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self.descriptor)):
            raise UserError(
                f"{self.path}: was removed, renamed or replaced while this command worked in it; the command stops, "
                f"and has written nothing in its place"
            )


FILES_OF_A_LOCK = 2
"""That `locked` has open: the lock and the folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Held]:
    """Lock `folder` for this process; the system unlocks it when the process ends. Raises UserError where another
    process holds it, or its .lock is a link."""
    with reported(folder), contextlib.ExitStack() as stack:
        lock = open_own(folder / ".lock", os.O_RDWR | os.O_CREAT, may_be_linked=True)  # it has no content
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: in use by another bertsmith process; wait or choose another --out") from None
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        held = Held(folder, descriptor)
        try:
            yield held
        except (OSError, UserError):
            held.check()  # whatever failed first: a folder that is gone says more than a file in it
            raise
