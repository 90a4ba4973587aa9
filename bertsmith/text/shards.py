"""The data folder: token shards that are memory-mapped, and the manifest that marks them as complete.

ARCHITECTURE.md lists its files. Each file of a shard is a plain NumPy array, which `np.load` reads without this
package."""

import os
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.console.shell import quote
from bertsmith.errors import UserError
from bertsmith.storage.files import create, open_own, reported, sha256_file, sha256_json, sync_folder, temporary_of
from bertsmith.storage.manifests import read_manifest
from bertsmith.text.shard_checks import HEADER_SIZE, compare_hashes, dtypes_of, npy_header

if TYPE_CHECKING:  # training imports this file with only torch and numpy
    from bertsmith.tokenizers.tokenizer import Tokenizer

SPLITS = ("train", "heldout")

ARRAYS = ("tokens", "lines", "documents")
"""The arrays of a shard, a file each, in the order of the fields of `Shard`."""

SHARD_TOKENS = 1 << 24  # at which a shard is closed: about 560 shards for OpenWebText's 9 G tokens


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
    """A finished data folder, read-only, and its manifest: recipe, corpus, counts, shards, hashes."""

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path, self.manifest = path, manifest
        self._checked: set[tuple[str, int]] = set()

    @cached_property
    def hash(self) -> str:
        """Hash of all shards and of the tokenizer: equal for equal data, in any folder."""
        return sha256_json([self.manifest["files"], self.manifest["tokenizer"]["fingerprint"]])

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The one that made the tokens; raises UserError where the folder's tokenizer files are damaged."""
        from bertsmith.tokenizers.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(self.path)
        known = self.manifest["tokenizer"]
        if (tokenizer.fingerprint, tokenizer.vocab_size) != (known["fingerprint"], known["vocab_size"]):
            raise _damaged(self.path / "tokenizer.json", "not the tokenizer of manifest.json")
        return tokenizer

    def num_shards(self, split: str) -> int:
        return len(self.manifest["shards"][split])

    def num_tokens(self, split: str) -> int:
        return sum(shard["tokens"] for shard in self.manifest["shards"][split])

    def num_documents(self, split: str) -> int:
        return sum(shard["documents"] for shard in self.manifest["shards"][split])

    def read(self, split: str, index: int) -> Shard:
        """Return shard `index` of `split` ("train" or "heldout"), memory-mapped. Raises UserError where a file is
        damaged in its size, header or order of positions; `verify` compares hashes."""
        lengths = self.manifest["shards"][split][index]
        vocab_size = self.manifest["tokenizer"]["vocab_size"]
        arrays = zip(ARRAYS, dtypes_of(vocab_size), strict=True)
        shard = Shard(*(self._array(shard_file(split, index, part), dtype, lengths[part]) for part, dtype in arrays))
        if (split, index) not in self._checked:
            for part, fault in zip(ARRAYS, _faults(shard, vocab_size), strict=True):
                if fault:
                    raise _damaged(self.path / shard_file(split, index, part), fault)
            self._checked.add((split, index))
        return shard

    def verify(self, remember: bool = True) -> None:
        """Compare files with their hashes in the manifest, as `bertsmith.text.shard_checks.compare_hashes` does; raises
        UserError with the name of a file that is missing or differs."""
        fault = compare_hashes(self.path, self.manifest["files"], remember)
        if fault:
            raise _damaged(self.path / fault, "its hash is not the one in manifest.json")

    def _array(self, name: str, dtype: np.dtype, length: int) -> np.ndarray:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{path}: is gone; bring the folder back, or prepare it again")
        with reported(path), path.open("rb") as file:
            header, size = file.read(HEADER_SIZE), path.stat().st_size
            if size != HEADER_SIZE + length * dtype.itemsize or header != npy_header(dtype, length):
                raise _damaged(path, f"not {length:,} entries of {dtype}, as manifest.json says")
            return np.memmap(file, dtype, "r", HEADER_SIZE, (length,)) if length else np.empty(0, dtype)


def open_data(path: str | Path, check: bool = True) -> Data:
    """Open the data folder at `path`, and with `check` compare its files with their hashes (see `Data.verify`).

    Raises:
        UserError: it is not one, it is not finished, or a shard's file is missing or damaged.
    """
    path = Path(path)
    data = Data(path, read_manifest(path, "data"))
    shards = data.manifest["shards"]
    indices = ((split, index) for split in SPLITS for index in range(len(shards.get(split, ()))))
    names = {shard_file(split, index, part) for split, index in indices for part in ARRAYS}
    if names != data.manifest["files"].keys() or shards.keys() != set(SPLITS):
        raise _damaged(path / "manifest.json", "its shards and its files do not agree")
    for name in data.manifest["files"]:
        if not (path / name).is_file():
            raise _damaged(path / name, "missing")
    if check:
        data.verify()
    return data


def shard_file(split: str, index: int, part: str) -> str:
    return f"{split}-{index:05d}.{part}.npy"


class ShardWriter:
    """A writer of one split's shards, one after the other.

    A writer made from the `position` of an earlier one cuts off what was written after it, so that a killed writer's
    work continues from the last position in the journal.
    """

    def __init__(self, folder: Path, split: str, dtype: np.dtype, position: "WriterPosition | None" = None):
        self.folder, self.split = folder, split
        self.position = position or WriterPosition()
        self._dtypes = (dtype, np.dtype(np.uint32), np.dtype(np.uint32))
        self._files: list[FileIO] = []
        if any(self.position.lengths):
            self._files = [
                self._reopen(*part) for part in zip(ARRAYS, self._dtypes, self.position.lengths, strict=True)
            ]

    def append(self, documents: Shard) -> None:
        """Add whole documents; positions are counted from the first of these tokens."""
        if not len(documents.document_ends):
            return
        if not self._files:
            self._files = [self._create(part) for part in ARRAYS]
        held_tokens = self.position.lengths[0]
        assert held_tokens + len(documents.tokens) < 1 << 32, "positions are 32-bit"
        arrays = (documents.tokens, documents.line_ends + held_tokens, documents.document_ends + held_tokens)
        for file, array, dtype in zip(self._files, arrays, self._dtypes, strict=True):
            _write(file, array.astype(dtype, copy=False).data)
        tokens, lines, ends = (held + len(array) for held, array in zip(self.position.lengths, arrays, strict=True))
        self.position = WriterPosition(self.position.index, (tokens, lines, ends))

    def full(self) -> bool:
        return self.position.lengths[0] >= SHARD_TOKENS

    def close_shard(self) -> dict[str, str]:
        """Give the files of the open shard their final names, and return file name → sha256 (empty where none is open).
        A crash in its middle changes nothing: it is done again, with the same files."""
        hashes = {}
        for file, part, dtype, length in zip(self._files, ARRAYS, self._dtypes, self.position.lengths, strict=False):
            with file:
                file.seek(0)
                _write(file, npy_header(dtype, length))
                os.fsync(file.fileno())
            path = self.folder / shard_file(self.split, self.position.index, part)
            hashes[path.name] = sha256_file(temporary_of(path))
            temporary_of(path).replace(path)
        if self._files:
            sync_folder(self.folder)
            self._files = []
            self.position = WriterPosition(self.position.index + 1)
        return hashes

    def sync(self) -> None:
        """Write the appended documents to disk, so that they survive a power cut."""
        for file in self._files:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the open files; another writer may continue them."""
        for file in self._files:
            file.close()
        self._files = []

    def _create(self, part: str) -> FileIO:
        path = self.folder / shard_file(self.split, self.position.index, part)
        file = FileIO(create(temporary_of(path)), "w")
        _write(file, bytes(HEADER_SIZE))
        return file

    def _reopen(self, part: str, dtype: np.dtype, length: int) -> FileIO:
        path = self.folder / shard_file(self.split, self.position.index, part)
        if path.exists():  # killed while closing this shard
            path.replace(temporary_of(path))
        file = FileIO(open_own(temporary_of(path), os.O_RDWR), "r+")
        file.truncate(HEADER_SIZE + length * dtype.itemsize)
        file.seek(0, os.SEEK_END)
        return file


@dataclass(frozen=True)
class WriterPosition:
    """The position of a `ShardWriter`: the number of its open shard, and the lengths of that shard's three arrays."""

    index: int = 0
    lengths: tuple[int, int, int] = (0, 0, 0)

    def is_on_disk(self, folder: Path, split: str, dtype: np.dtype) -> bool:
        """Return whether the open shard's files are as long as this position says (a power cut may have shortened
        them)."""
        for part, itemsize, length in zip(ARRAYS, (dtype.itemsize, 4, 4), self.lengths, strict=True):
            path = folder / shard_file(split, self.index, part)
            path = path if path.exists() else temporary_of(path)
            if length and (not path.exists() or path.stat().st_size < HEADER_SIZE + length * itemsize):
                return False
        return True


def _write(file: FileIO, content: bytes | memoryview) -> None:
    """Write all of `content`: an unbuffered file takes what fits the disk, and fails at the next byte."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _faults(shard: Shard, vocab_size: int) -> tuple[str, str, str]:
    """Return the fault of each of a shard's arrays, whose hash may be right; empty where there is none."""
    end, tokens, documents = len(shard.tokens), "", _rising(shard.document_ends, len(shard.tokens))
    lines = _rising(shard.line_ends, end)
    if end and shard.tokens.max() >= vocab_size:
        tokens = f"id {shard.tokens.max()} in a vocabulary of {vocab_size:,} tokens"
    if not (lines or documents) and end:
        places = np.searchsorted(shard.line_ends, shard.document_ends)
        if (shard.line_ends[places] != shard.document_ends).any():
            documents = "a document ends where no line ends"
    return tokens, lines, documents


def _rising(positions: np.ndarray, end: int) -> str:
    """Return the fault of positions that do not rise strictly from above 0 to exactly `end`; of no tokens there are
    none."""
    if not len(positions) and not end:
        return ""
    rises = len(positions) and positions[0] > 0 and (positions[1:] > positions[:-1]).all()
    return "" if rises and positions[-1] == end else f"positions that do not rise to {end:,}, the end of the tokens"


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged ({reason}); run `bertsmith prepare … --out {quote(path.parent)} --overwrite`")
