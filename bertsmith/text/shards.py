"""The data folder: token shards that are memory-mapped, and the manifest that says they are whole.

    manifest.json                                                   written last
    train-00000.tokens.npy   train-00000.lines.npy   train-00000.documents.npy      and so on; likewise heldout-…
    tokenizer.json   vocab.txt   tokenizer_config.json

Each file of a shard is a plain NumPy array, which `np.load` reads without this package.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.errors import UserError
from bertsmith.files import TEMPORARY, reported, sha256_file, sha256_json
from bertsmith.manifests import read_manifest

if TYPE_CHECKING:  # training imports this file where there is torch and numpy alone
    from bertsmith.text.tokenizer import Tokenizer

SPLITS = ("train", "heldout")

PARTS = ("tokens", "lines", "documents")
"""The files of a shard, in the order of the fields of `Shard`."""

SHARD_TOKENS = 1 << 24
"""A shard is closed once it holds this many: one file for a small corpus, about 560 for OpenWebText's 9 G tokens."""

_HEADER_SIZE = 128
"""Of a .npy file whose array has one axis; NumPy pads it so that the length can be filled in later."""


@dataclass(frozen=True)
class Shard:
    """Consecutive documents of one split.

    Attributes:
        tokens: [T] uint16 or uint32, ids of all documents end to end, no special tokens between them.
        line_ends: [lines] uint32, the position in `tokens` after a line's last token; strictly increasing.
        document_ends: [documents] uint32, the position in `tokens` after a document's last token; strictly increasing,
            each also a line's end.
    """

    tokens: np.ndarray
    line_ends: np.ndarray
    document_ends: np.ndarray


class Data:
    """A whole data folder, read-only.

    Attributes:
        path: the folder.
        manifest: what `manifest.json` says: recipe, corpus, counts, shards, hashes.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path, self.manifest = path, manifest

    @cached_property
    def hash(self) -> str:
        """Of every shard's content and of what the tokenizer does: equal for equal data, wherever the folder lies."""
        return sha256_json([self.manifest["files"], self.manifest["tokenizer"]["fingerprint"]])

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The one that made the tokens.

        Raises:
            UserError: the folder's tokenizer files are damaged.
        """
        from bertsmith.text.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(self.path)
        if tokenizer.fingerprint != self.manifest["tokenizer"]["fingerprint"]:
            raise _damaged(self.path / "tokenizer.json", "not the tokenizer of manifest.json")
        return tokenizer

    def num_shards(self, split: str) -> int:
        return len(self.manifest["shards"][split])

    def num_tokens(self, split: str) -> int:
        return sum(shard["tokens"] for shard in self.manifest["shards"][split])

    def num_documents(self, split: str) -> int:
        return sum(shard["documents"] for shard in self.manifest["shards"][split])

    def read(self, split: str, index: int) -> Shard:
        """Shard `index` of `split` ("train" or "heldout"), memory-mapped.

        Raises:
            UserError: a file is damaged in a way that shows without reading it through (see `verify`).
        """
        lengths = self.manifest["shards"][split][index]
        return Shard(*(self._array(shard_file(split, index, part), lengths[part]) for part in PARTS))

    def verify(self) -> None:
        """Read every file through and compare it with its hash in the manifest.

        Raises:
            UserError: a file is missing or differs; it is named.
        """
        for name, expected in self.manifest["files"].items():
            with reported(self.path / name):
                found = sha256_file(self.path / name)
            if found != expected:
                raise _damaged(self.path / name, "its hash is not the one in manifest.json")

    def _array(self, name: str, length: int) -> np.ndarray:
        path = self.path / name
        with reported(path):
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise _damaged(path, str(error)) from None
        if array.shape != (length,):
            raise _damaged(path, f"{array.shape} entries where manifest.json says {length}")
        return array


def open_data(path: str | Path) -> Data:
    """The data folder at `path`.

    Raises:
        UserError: it is not one, it is not finished, or a shard's file is missing.
    """
    path = Path(path)
    data = Data(path, read_manifest(path, "data"))
    for name in data.manifest["files"]:
        if not (path / name).is_file():
            raise _damaged(path / name, "missing")
    return data


def shard_file(split: str, index: int, part: str) -> str:
    return f"{split}-{index:05d}.{part}.npy"


class ShardWriter:
    """One split's shards, appended to and closed one after the other.

    What it has written so far is `position`; a writer made from a position cuts off whatever was written after it, so
    that a killed writer's work continues from the last position that was noted down.
    """

    def __init__(self, folder: Path, split: str, dtype: np.dtype, position: "Position | None" = None):
        self.folder, self.split = folder, split
        self.position = position or Position()
        self._dtypes = (dtype, np.dtype(np.uint32), np.dtype(np.uint32))
        self._files: list[FileIO] = []
        if any(self.position.lengths):
            self._files = [self._reopen(*part) for part in zip(PARTS, self._dtypes, self.position.lengths, strict=True)]

    def append(self, documents: Shard) -> None:
        """Add whole documents; positions are counted from the first of these tokens."""
        if not len(documents.document_ends):
            return
        if not self._files:
            self._files = [self._create(part) for part in PARTS]
        held_tokens = self.position.lengths[0]
        assert held_tokens + len(documents.tokens) < 1 << 32, "positions are 32-bit"
        arrays = (documents.tokens, documents.line_ends + held_tokens, documents.document_ends + held_tokens)
        for file, array, dtype in zip(self._files, arrays, self._dtypes, strict=True):
            _write(file, array.astype(dtype, copy=False).data)
        lengths = tuple(held + len(array) for held, array in zip(self.position.lengths, arrays, strict=True))
        self.position = Position(self.position.index, lengths)

    def full(self) -> bool:
        return self.position.lengths[0] >= SHARD_TOKENS

    def close_shard(self) -> dict[str, str]:
        """Give the open shard its final names; returns file name → sha256 (nothing when no shard is open).

        Done again after a crash in its middle, it leaves the same files.
        """
        hashes = {}
        for file, part, dtype, length in zip(self._files, PARTS, self._dtypes, self.position.lengths, strict=False):
            with file:
                _write_header(file, dtype, length)
                os.fsync(file.fileno())
            path = self.folder / shard_file(self.split, self.position.index, part)
            hashes[path.name] = sha256_file(_partial(path))
            _partial(path).replace(path)
        if self._files:
            self._files = []
            self.position = Position(self.position.index + 1)
        return hashes

    def sync(self) -> None:
        """Return when what was appended would survive a power cut."""
        for file in self._files:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let go of the open files, leaving them to be continued."""
        for file in self._files:
            file.close()
        self._files = []

    def _create(self, part: str) -> FileIO:
        path = self.folder / shard_file(self.split, self.position.index, part)
        file = open(_partial(path), "wb", buffering=0)  # noqa: SIM115, closed with its shard
        _write(file, bytes(_HEADER_SIZE))
        return file

    def _reopen(self, part: str, dtype: np.dtype, length: int) -> FileIO:
        path = self.folder / shard_file(self.split, self.position.index, part)
        if path.exists():  # killed while closing this shard
            path.replace(_partial(path))
        file = open(_partial(path), "r+b", buffering=0)  # noqa: SIM115, closed with its shard
        file.truncate(_HEADER_SIZE + length * dtype.itemsize)
        file.seek(0, os.SEEK_END)
        return file


@dataclass(frozen=True)
class Position:
    """Where a `ShardWriter` is: the number of its open shard, and the lengths of that shard's three files."""

    index: int = 0
    lengths: tuple[int, int, int] = (0, 0, 0)

    def is_on_disk(self, folder: Path, split: str, dtype: np.dtype) -> bool:
        """Whether the open shard's files are as long as this position says (a power cut may have shortened them)."""
        for part, itemsize, length in zip(PARTS, (dtype.itemsize, 4, 4), self.lengths, strict=True):
            path = folder / shard_file(split, self.index, part)
            path = path if path.exists() else _partial(path)
            if length and (not path.exists() or path.stat().st_size < _HEADER_SIZE + length * itemsize):
                return False
        return True


def _partial(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _write(file: FileIO, content: bytes | memoryview) -> None:
    """All of `content`: an unbuffered file takes as much as fits the disk, and fails at the next byte."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _write_header(file: FileIO, dtype: np.dtype, length: int) -> None:
    header = BytesIO()
    content = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, content)
    assert header.tell() == _HEADER_SIZE, "NumPy's header has another size than we left room for"
    file.seek(0)
    _write(file, header.getvalue())


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); run `bertsmith prepare … --out {path.parent} --overwrite`")
