"""Where the files of a data folder are read: in the folder, or as copies of those behind an address."""

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from bertsmith.errors import UserError
from bertsmith.storage.file_cache import FileCache, cache_size, in_turn
from bertsmith.storage.files import atomic_write, reported
from bertsmith.storage.manifests import TOKENIZER
from bertsmith.storage.places import cache_folder
from bertsmith.storage.remote import list_files, read_remote
from bertsmith.text.shard_checks import compare_hashes

NUM_FETCHERS = 4  # threads that fetch files ahead
MAX_SMALL_FILE = 256 << 20  # bytes of a manifest or a tokenizer's file


class ShardFile(NamedTuple):
    """A file of a shard, as the manifest has it."""

    name: str
    sha256: str
    size: int


class DataFiles(Protocol):
    """The files of a data folder's shards."""

    def open(self, file: ShardFile) -> BinaryIO:
        """Open a local file with its content. Raises UserError where it is gone, or cannot be fetched."""

    def fetch_ahead(self, files: Iterable[ShardFile]) -> None:
        """Begin to fetch what will be opened next, in place of what was asked for before."""

    def missing(self, files: Iterable[ShardFile]) -> str:
        """Return the first of `files` that is not there, or empty."""

    def differing(self, files: Mapping[str, str], remember: bool) -> str:
        """Return the first of `files` (name → sha256) that is here and has another hash, or empty."""


class LocalFiles:
    """Those of a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def open(self, file: ShardFile) -> BinaryIO:
        path = self._folder / file.name
        if not path.is_file():
            raise UserError(f"{path}: is gone; bring the folder back, or prepare it again")
        with reported(path):
            return path.open("rb")

    def fetch_ahead(self, files: Iterable[ShardFile]) -> None:
        pass

    def missing(self, files: Iterable[ShardFile]) -> str:
        return next((file.name for file in files if not (self._folder / file.name).is_file()), "")

    def differing(self, files: Mapping[str, str], remember: bool) -> str:
        return compare_hashes(self._folder, files, remember)


class RemoteFiles:
    """Copies of those behind an address, each compared with its hash when it is fetched and when a process first uses
    it."""

    def __init__(self, address: str):
        self._address = address
        self._cache = FileCache(cache_folder() / "shards", cache_size())
        self._ahead: deque[ShardFile] = deque()
        self._wanted = threading.Condition()
        self._threads: list[threading.Thread] = []

    def open(self, file: ShardFile) -> BinaryIO:
        address = f"{self._address}/{file.name}"
        return self._cache.open(file.sha256, file.size, partial(read_remote, address), address)

    def fetch_ahead(self, files: Iterable[ShardFile]) -> None:
        with self._wanted:
            self._ahead = deque(files)
            self._wanted.notify_all()
            while len(self._threads) < min(NUM_FETCHERS, len(self._ahead)):
                self._threads.append(threading.Thread(target=self._fetch, daemon=True, name="fetching shards"))
                self._threads[-1].start()

    def missing(self, files: Iterable[ShardFile]) -> str:
        there = list_files(self._address)
        return next((file.name for file in files if there.get(file.name) != file.size), "")

    def differing(self, files: Mapping[str, str], remember: bool) -> str:
        return ""

    def _fetch(self) -> None:
        while True:
            with self._wanted:
                while not self._ahead:
                    self._wanted.wait()
                file = self._ahead.popleft()
            with suppress(UserError):  # it is raised where the file is opened
                self.open(file).close()


def fetch_description(address: str) -> Path:
    """Copy the manifest and the tokenizer of a data folder behind an address into a folder here, and return that.

    Raises:
        UserError: there is no manifest, or the storage cannot be read.
    """
    there = list_files(address)
    if "manifest.json" not in there:
        what = "nothing is there" if not there else "it has no manifest.json"
        raise UserError(f"{address}: not a finished data folder ({what}); look at the address, or prepare it")
    folder = cache_folder() / "data" / hashlib.sha256(address.encode()).hexdigest()[:16]
    with reported(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with in_turn(folder):
        for name in ("manifest.json", *TOKENIZER):
            _copy_small(address, name, there.get(name), folder)
    return folder


def _copy_small(address: str, name: str, size: int | None, folder: Path) -> None:
    """Copy a file into a folder, or remove it there where `size` is None: it has none."""
    if size is None:
        (folder / name).unlink(missing_ok=True)
        return
    if size > MAX_SMALL_FILE:
        raise UserError(f"{address}/{name}: larger than {MAX_SMALL_FILE:,} bytes, the most that is read of such a file")
    content = read_remote(f"{address}/{name}")
    if not _is_same(folder / name, content):
        with atomic_write(folder / name) as file:
            file.write(content)


def _is_same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
