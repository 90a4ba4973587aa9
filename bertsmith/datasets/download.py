"""Data sets from where they are published: OpenWebText, GLUE, BERT's vocabulary.

Each item has several sources, tried in turn. A transfer goes on where it was cut, within a run and from run to run. A
file takes its name only when it is complete and its published size and hash are right, so running the command again
fetches what is missing. All transfers go through gdown: it knows Google Drive's detours, and resumes any other address
over HTTP too.
"""

import glob
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bertsmith.console.progress import format_seconds, progress_bar
from bertsmith.datasets.sources import CATALOGUE, Download, RemoteFile
from bertsmith.errors import UserError, one_line
from bertsmith.storage.files import TEMPORARY, atomic_write, locked, make_folder, reported, sha256_file
from bertsmith.storage.folders import no_empty_folder

PAUSES_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""Before each further try while tries bring nothing new; a source that has not sent a byte gets the first only."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect; between two pieces of an answer."""

PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""HTTP answers that another try may better (RFC 9110, RFC 6585)."""


class Unavailable(Exception):
    """Why a source does not give a file; the next source is tried."""


@no_empty_folder
def download(
    what: str,
    out: Path,
    catalogue: Mapping[str, Sequence[Download]] = CATALOGUE,
    pauses: Sequence[float] = PAUSES_SECONDS,
) -> list[Path]:
    """Download the files of `what` ("openwebtext", "glue", "vocab") that `out` lacks; return the paths of all its
    files.

    Raises:
        UserError: no such data set; no source works (the message names the file to fetch by hand, and its place); a
            file in `out` has the wrong size; `out` cannot be written, or another process downloads into it.
    """
    if what not in catalogue:
        raise UserError(f"{what}: nothing to download by that name; there are {', '.join(catalogue)}")
    with locked(make_folder(out)):
        return [path for item in catalogue[what] for path in _obtain(item, out, pauses)]


def present(what: str, out: Path, catalogue: Mapping[str, Sequence[Download]] = CATALOGUE) -> set[Path]:
    """Return the files of `what` that are in `out`, from any source."""
    files = (file for item in catalogue.get(what, ()) for source in item.sources for file in source)
    return {path for file in files for path in (out / kept for kept in file.kept) if path.exists()}


def _obtain(item: Download, out: Path, pauses: Sequence[float]) -> list[Path]:
    """Fetch the item's files from the first source that has all of them, beginning with a source that was begun."""
    reasons = []
    for source in sorted(item.sources, key=lambda source: not any(_begun(file, out) for file in source)):
        try:
            return [path for file in source for path in _place(file, out, pauses)]
        except Unavailable as unavailable:
            reasons.append(str(unavailable))
    wanted = next(file for file in item.sources[0] if not _finished(file, out))
    raise UserError(
        f"{item.name} cannot be downloaded: {'; '.join(reasons)}.\n"
        f"Fetch {wanted.url} by hand as {out / wanted.path} and run the command again; it goes on from there."
    )


def _place(file: RemoteFile, out: Path, pauses: Sequence[float]) -> list[Path]:
    """Bring `file` to its place, checked, and unpack an archive; nothing is done where that was done."""
    target = out / file.path
    if file.members and _finished(file, out):
        return [out / member for member in file.members]
    if target.exists():  # put there by hand, or by an earlier run that had no time to unpack it
        if fault := _fault(file, target, hashed=bool(file.members)):
            raise UserError(f"{target}: {fault}; remove it and run the command again")
    else:
        make_folder(target.parent)
        with reported(target):
            _fetch(file, target, pauses)
    if file.members:
        _unpack(file, out)
    return [out / path for path in file.kept]


def _fetch(file: RemoteFile, target: Path, pauses: Sequence[float]) -> None:
    partial = target.with_name(target.name + TEMPORARY)
    _transfer(file, partial, pauses)
    if fault := _fault(file, partial):
        partial.unlink()
        raise Unavailable(f"{_host(file)}: {target.name} {fault}")
    partial.replace(target)


def _transfer(file: RemoteFile, partial: Path, pauses: Sequence[float]) -> None:
    """Bring the bytes of `file` to `partial`, going on where an earlier try was cut."""
    import gdown  # here: with requests and bs4 it takes 0.3 s, which other commands need not wait for
    import requests

    furthest, failures = 0, 0
    with progress_bar(f"downloading {Path(file.path).name}", file.size or 0) as bar:

        def advance(position: int, total: int | None) -> None:
            nonlocal furthest, failures
            if not furthest:
                bar.initial = position
            if position > furthest:
                furthest, failures = position, 0
            bar.total = total or file.size or float("inf")
            bar.update(position, f"{position / 1e6:,.1f} MB")

        options: dict[str, Any] = {"quiet": True, "resume": True, "use_cookies": False, "timeout": TIMEOUT_SECONDS}
        while True:
            try:
                gdown.download(url=file.url, output=str(partial), progress=advance, **options)
                return
            except (requests.RequestException, gdown.exceptions.DownloadError) as error:
                reason, passing = _judge(error)
                if "byte range" in reason:  # the server has no Range, or another file: start again
                    for piece in _pieces(partial):
                        piece.unlink()
                allowed = pauses if furthest else pauses[:1]
                if failures == len(allowed) or not passing:
                    raise Unavailable(f"{_host(file)}: {reason}") from error
                pause = allowed[failures]
                failures += 1
                bar.line(f"{_host(file)}: {reason}; trying again in {format_seconds(pause)}")
                time.sleep(pause)


def _judge(error: Exception) -> tuple[str, bool]:
    """Return the error in a few words, and whether another try may succeed."""
    import requests
    from gdown.exceptions import FileURLRetrievalError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        answer = error.response
        return f"HTTP {answer.status_code} {answer.reason}", answer.status_code in PASSING_STATUSES
    if isinstance(error, FileURLRetrievalError):
        return "Google Drive hands out no link (its quota may be used up)", False
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return one_line(error), False
    if isinstance(error, requests.Timeout):
        return "no answer in time", True
    if isinstance(error, requests.ConnectionError):
        return "no connection", True
    said = one_line(error)
    return "the connection was cut" if said.startswith("Download is incomplete") else said, True


def _fault(file: RemoteFile, path: Path, hashed: bool = True) -> str:
    """Return the difference between `path` and the published file; empty where there is none."""
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"has {size:,} bytes instead of {file.size:,}"
    if hashed and file.sha256 and (found := sha256_file(path)) != file.sha256:
        return f"has sha256 {found[:12]}… instead of {file.sha256[:12]}…"
    return ""


def _unpack(file: RemoteFile, out: Path) -> None:
    """Take the expected members, and no others, out of a zip archive, then remove it."""
    archive = out / file.path
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in file.members:
                make_folder((out / member).parent)
                with packed.open(member) as source, atomic_write(out / member) as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        archive.unlink()
        raise Unavailable(f"{_host(file)}: {archive.name} is not as expected ({one_line(error)})") from error
    archive.unlink()


def _host(file: RemoteFile) -> str:
    return urlsplit(file.url).netloc


def _finished(file: RemoteFile, out: Path) -> bool:
    return all((out / path).exists() for path in file.kept)


def _begun(file: RemoteFile, out: Path) -> bool:
    partial = out / f"{file.path}{TEMPORARY}"
    return _finished(file, out) or (out / file.path).exists() or any(_pieces(partial))


def _pieces(partial: Path) -> Iterator[Path]:
    """Return where gdown keeps an unfinished `partial`: its name, eight random characters, `.part`."""
    return partial.parent.glob(f"{glob.escape(partial.name)}????????.part")
