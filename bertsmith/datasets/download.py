"""Data sets from where they are published: OpenWebText, GLUE, BERT's vocabulary.

Each item has several sources, tried in turn. A transfer goes on where it was cut, within a run and from run to run. A
file takes its name only when it is complete and its published size and hash are right, so running the command again
fetches what is missing. All transfers go through gdown: it knows Google Drive's detours, and resumes any other address
over HTTP too.

Sizes and hashes of the archives are those of huggingface/datasets, datasets/{glue,openwebtext}/dataset_infos.json
(`download_checksums`); the hub's Parquet copies are named at a fixed revision, so a file never changes half-way.
"""

import glob
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bertsmith.console.progress import format_seconds, progress_bar
from bertsmith.errors import UserError, one_line
from bertsmith.storage.files import TEMPORARY, atomic_write, locked, make_folder, reported, sha256_file
from bertsmith.storage.folders import no_empty_folder


class RemoteFile(NamedTuple):
    """One file of a source, and where it goes."""

    url: str
    path: str  # relative to the download folder
    size: int | None = None  # bytes, where published; in any case all that the server announces must arrive
    sha256: str | None = None
    members: tuple[str, ...] = ()
    """of a zip archive: what is kept of it, under the same paths; the archive itself is then removed"""

    @property
    def kept(self) -> tuple[str, ...]:
        """Paths, relative to the download folder, that are there once the file is dealt with."""
        return self.members or (self.path,)


Source = tuple[RemoteFile, ...]
"""All of an item, in one place."""


class Download(NamedTuple):
    """Something to fetch, with its sources, the preferred one first."""

    name: str
    sources: tuple[Source, ...]


# Name on the Hugging Face hub, in Parquet; then the archive in the original TSV layout: name, bytes, sha256.
_GLUE: dict[str, tuple[Any, ...]] = {
    "CoLA": ("cola", "CoLA.zip", 376971, "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff"),
    "SST-2": ("sst2", "SST-2.zip", 7439277, "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"),
    "MRPC": ("mrpc",),  # its corpus comes without the dev split, which a list of ids then cuts out of it
    "STS-B": ("stsb", "STS-B.zip", 802872, "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85"),
    "RTE": ("rte", "RTE.zip", 697150, "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee"),
    "WNLI": ("wnli", "WNLI.zip", 28999, "ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46"),
    "QNLI": ("qnli", "QNLIv2.zip", 10627589, "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5"),
    "QQP": ("qqp", "QQP-clean.zip", 41696084, "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0"),
    "MNLI": ("mnli", "MNLI.zip", 312783507, "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633"),
}

_GLUE_REVISION = "https://huggingface.co/datasets/nyu-mll/glue/resolve/bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

_GLUE_DIAGNOSTIC = Download(
    "diagnostic",
    (
        (RemoteFile("https://dl.fbaipublicfiles.com/glue/data/AX.tsv", "diagnostic/diagnostic.tsv", 222257,
                    "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd"),),
        (RemoteFile(f"{_GLUE_REVISION}/ax/test-00000-of-00001.parquet", "diagnostic/test-00000-of-00001.parquet"),),
    ),
)  # fmt: skip


def _glue(task: str) -> Download:
    splits = ["train", "validation", "test"]
    if task == "MNLI":
        splits = ["train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched"]
    names = [f"{split}-00000-of-00001.parquet" for split in splits]
    on_hub, *archive_of_task = _GLUE[task]
    copy = tuple(RemoteFile(f"{_GLUE_REVISION}/{on_hub}/{name}", f"{task}/{name}") for name in names)
    if not archive_of_task:
        return Download(task, (copy,))
    name, size, sha256 = archive_of_task
    members = tuple(f"{task}/{split.replace('validation', 'dev')}.tsv" for split in splits)
    archive = RemoteFile(f"https://dl.fbaipublicfiles.com/glue/data/{name}", name, size, sha256, members)
    return Download(task, ((archive,), copy))


_OPENWEBTEXT = "openwebtext.tar.xz", 12880027468, "9fe39d154c5bc67da8c359415372b79510eb1e2edb0d035fe4f7fc3a732b9336"
_OPENWEBTEXT_COPY = (
    "https://huggingface.co/datasets/Skylion007/openwebtext/resolve/b4325f019c648b1641a1784748667e8b74e5e064/plain_text"
)
_OPENWEBTEXT_COPY_NAMES = [f"train-{number:05d}-of-00080.parquet" for number in range(80)]

_VOCAB = "vocab.txt", 231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

CATALOGUE: dict[str, tuple[Download, ...]] = {
    "openwebtext": (Download("OpenWebText", (
        (RemoteFile("https://drive.google.com/uc?id=1EA5V0oetDCOke7afsktL_JDQ-ETtNOvx", *_OPENWEBTEXT),),
        tuple(RemoteFile(f"{_OPENWEBTEXT_COPY}/{name}", f"openwebtext/{name}") for name in _OPENWEBTEXT_COPY_NAMES),
        (RemoteFile("https://zenodo.org/record/3834942/files/openwebtext.tar.xz", *_OPENWEBTEXT),),
    )),),
    "glue": (*(_glue(task) for task in _GLUE), _GLUE_DIAGNOSTIC),
    "vocab": (Download("BERT's uncased vocabulary", (
        (RemoteFile("https://huggingface.co/google-bert/bert-base-uncased/resolve/main/vocab.txt", *_VOCAB),),
        (RemoteFile("https://s3.amazonaws.com/models.huggingface.co/bert/bert-base-uncased-vocab.txt", *_VOCAB),),
    )),),
}  # fmt: skip
"""Name on the command line of `bertsmith download` → downloads."""


PAUSES_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""Before each further try while tries bring nothing new; a source that has not sent a byte gets the first only."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect; between two pieces of an answer."""

PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}
"""HTTP answers that another try may better (RFC 9110, RFC 6585)."""


class Unavailable(Exception):
    """The error of a source that does not give a file; the next source is tried."""


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
