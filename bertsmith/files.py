"""Files that are whole or absent: atomic writes, hashes, format versions, folder locks.

Every artefact is written under a temporary name in its own folder and renamed; a folder's manifest goes last, so that
its presence means the folder is whole.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bertsmith.errors import UserError, shortened

TEMPORARY = ".partial"
"""Suffix of a file or folder that is being written; whatever carries it is rubbish after a crash."""


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends without an error.

    Raises:
        UserError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    encoding = None if "b" in mode else "utf-8"
    with reported(path):
        try:
            with open(temporary, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A fresh folder under a temporary name that becomes `path` (replacing it) when the block ends without an error."""
    temporary = path.with_name(path.name + TEMPORARY)
    with reported(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what the operating system says of `path` (no space, no permission) into a `UserError`."""
    try:
        yield
    except BrokenPipeError:  # of standard output, whose reader has gone
        raise
    except OSError as error:
        place = error.filename2 or error.filename or path  # of a renaming the name that was wanted
        raise UserError(f"{place}: {os.strerror(error.errno) if error.errno else error}") from error


def make_folder(path: Path) -> Path:
    """Create `path` with its parents, and check now rather than hours later that it can be written."""
    with reported(path):
        path.mkdir(parents=True, exist_ok=True)
    probe = path / f"probe{TEMPORARY}"
    try:
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may look at the same moment
    except OSError as error:
        raise UserError(f"{path}: nothing can be written here ({error.strerror})") from error
    return path


def ending(path: Path) -> str:
    """Return the ending of a file's name, such as ".csv", in lower case: `.CSV` is the same."""
    return path.suffix.lower()


def refuse_address(text: str, before: str = "") -> None:
    """Raise UserError where an address stands for a local path: `Path("s3://bucket")` is a folder called "s3:"."""
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
        raise UserError(
            f"{before}{shortened(text)}: an address ({found[1]}://), which only corpus= of `prepare` and `tokenizer` "
            f"may be; give a local path"
        )


def refuse_folder(path: Path) -> None:
    """Raises UserError where a file is to be written and a folder has its name."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a file to write")


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """Return the whole of a UTF-8 file, without a byte order mark.

    Raises:
        UserError: there is no such file, it is no regular file, is larger than `max_bytes`, cannot be read, or a line
            of it is not UTF-8.
    """
    with reported(path):
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if not path.is_file():
            raise UserError(f"{path}: not a regular file")
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
    """Hash of the canonical JSON of `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: another process holds it.
    """
    with reported(folder), open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: in use by another bertsmith process; wait for it or choose another --out"
            ) from None
        yield
