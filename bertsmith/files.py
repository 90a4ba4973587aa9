"""Files that are whole or absent: atomic writes, hashes, format versions, folder locks.

Every artefact is written under a temporary name in its own folder and renamed; a folder's manifest goes last, so that
its presence means the folder is whole.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bertsmith import __version__
from bertsmith.errors import UserError

FORMAT_VERSION = 1
"""Of run folders, data folders and checkpoints; raised when a reader of the older ones would misread."""

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


def refuse_folder(path: Path) -> None:
    """Raises UserError where a file is to be written and a folder has its name."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a file to write")


def read_text(path: Path) -> str:
    """The whole of a UTF-8 file, without a byte order mark.

    Raises:
        UserError: there is no such file, it cannot be read, or a line of it is not UTF-8.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    with reported(path):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; convert the file") from None


def read_json(path: Path) -> Any:
    """What a JSON file of somebody's says.

    Raises:
        UserError: as `read_text`; the file is not JSON, or an object in it has a key twice (readers differ in which of
            the two they keep).
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) != len(pairs):
            [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
            raise UserError(f"{path}: {key!r} is there {times} times in one object; leave one of them")
        return content

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}); write the file again") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; a thousand nested brackets
        raise UserError(f"{path}: cannot be read as JSON ({error}); write the file again") from None


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None for numbers that are not finite, of which JSON has none."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def write_json(path: Path, content: Any) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_text(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def write_manifest(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Declare `folder` whole: a `manifest.json` that names its kind, the format and the package version."""
    head = {"kind": kind, "format_version": FORMAT_VERSION, "bertsmith_version": __version__}
    write_json(folder / "manifest.json", head | content)


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of a whole folder of this `kind`.

    Raises:
        UserError: there is none, it is of another kind, or of a format newer than this version reads.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not a finished {kind} folder (it has no manifest.json)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make the folder again") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else None
        raise UserError(f"{folder}: a {found or 'foreign'} folder where a {kind} folder is needed")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: format {manifest.get('format_version')}, written by bertsmith "
            f"{manifest.get('bertsmith_version')}; this is {__version__}, which reads format {FORMAT_VERSION}"
        )
    return manifest


def kind_of(folder: Path) -> str | None:
    """The kind that the manifest names; None where there is no such manifest, or a damaged one."""
    try:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_foreign(folder: Path, kind: str) -> None:
    """Raises UserError where `folder` is another kind's: `--overwrite` must not clear it away."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        found = manifest.get("kind") if isinstance(manifest, dict) else None
    except (OSError, ValueError):
        return  # none, or a damaged one: nothing that says it is someone else's
    if found != kind:
        raise UserError(f"{folder}: a {found or 'foreign'} folder, not a {kind} one; choose another --out")


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
