"""The data folder: token shards that are memory-mapped, and the manifest that marks them as complete.

ARCHITECTURE.md lists its files. Each file of a shard is a plain NumPy array, which `np.load` reads without this
package."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.console.shell import quote
from bertsmith.errors import UserError
from bertsmith.storage.files import reported, sha256_json
from bertsmith.storage.manifests import read_manifest
from bertsmith.storage.remote import is_address
from bertsmith.text.data_files import DataFiles, LocalFiles, RemoteFiles, ShardFile, fetch_description
from bertsmith.text.shard_checks import HEADER_SIZE, dtypes_of, npy_header

if TYPE_CHECKING:  # training imports this file with only torch and numpy
    from bertsmith.tokenizers.tokenizer import Tokenizer

SPLITS = ("train", "heldout")
_ALL: Mapping[str, int] = MappingProxyType(dict.fromkeys(SPLITS, 0))

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
    """A finished data folder, read-only, and its manifest: recipe, corpus, counts, shards, hashes.

    Attributes:
        path: a local folder with its manifest and tokenizer, and unless it is behind an address with its shards.
        address: where it is, for people: that folder, or an address such as s3://bucket/data.
        first: by split, the number of its first shard among the folder's: of one of several corpora.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], address: str = "", whole: "Data | None" = None,
        first: Mapping[str, int] = _ALL,
    ):  # fmt: skip
        """Open a folder, or of a `whole` one the corpus that `manifest` is about."""
        self.path, self.manifest, self.address = path, manifest, address or str(path)
        self.first, self._whole = first, whole
        self._files: DataFiles = RemoteFiles(address) if address else LocalFiles(path)
        self._checked: set[tuple[str, int]] = set()

    @cached_property
    def hash(self) -> str:
        """See `data_hash`."""
        return data_hash(self.manifest)

    @cached_property
    def corpora(self) -> dict[str, "Data"]:
        """By name the data of each of its corpora, as if it had been prepared by itself; none where it is of one."""
        found: dict[str, Data] = {}
        first = dict.fromkeys(SPLITS, 0)
        for corpus in self.manifest.get("corpora", ()):
            end = {split: first[split] + corpus["shards"][split] for split in SPLITS}
            shards = {split: self.manifest["shards"][split][first[split] : end[split]] for split in SPLITS}
            manifest = self.manifest | {"shards": shards, "counts": corpus["counts"], "corpora": []}
            address = "" if self.address == str(self.path) else self.address
            found[corpus["name"]] = Data(self.path, manifest, address, self, first)
            first = end
        return found

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The one that made the tokens; raises UserError where the folder's tokenizer files are damaged."""
        from bertsmith.tokenizers.tokenizer import Tokenizer

        if self._whole is not None:
            return self._whole.tokenizer
        tokenizer = Tokenizer.load(self.path)
        known = self.manifest["tokenizer"]
        if (tokenizer.fingerprint, tokenizer.vocab_size) != (known["fingerprint"], known["vocab_size"]):
            raise self.damaged("tokenizer.json", "not the tokenizer of manifest.json")
        return tokenizer

    def num_shards(self, split: str) -> int:
        return len(self.manifest["shards"][split])

    def num_tokens(self, split: str) -> int:
        return sum(shard["tokens"] for shard in self.manifest["shards"][split])

    def num_documents(self, split: str) -> int:
        return sum(shard["documents"] for shard in self.manifest["shards"][split])

    def read(self, split: str, index: int) -> Shard:
        """Return shard `index` of `split` ("train" or "heldout"), memory-mapped. Raises UserError where a file is
        damaged in its size, header or order of positions, or cannot be fetched; `verify` compares hashes."""
        vocab_size, lengths = self.manifest["tokenizer"]["vocab_size"], self.manifest["shards"][split][index]
        dtypes, files = dtypes_of(vocab_size), self._files_of(split, index)
        arrays = zip(ARRAYS, files, dtypes, strict=True)
        shard = Shard(*(self._array(file, dtype, lengths[array]) for array, file, dtype in arrays))
        if (split, index) not in self._checked:
            for file, fault in zip(files, _faults(shard, vocab_size), strict=True):
                if fault:
                    raise self.damaged(file.name, fault)
            self._checked.add((split, index))
        return shard

    def fetch_ahead(self, split: str, indices: Sequence[int]) -> None:
        """Begin to fetch shards that will be read next, where they are behind an address."""
        self._files.fetch_ahead(file for index in indices for file in self._files_of(split, index))

    def verify(self, remember: bool = True) -> None:
        """Compare files with their hashes in the manifest, as `bertsmith.text.shard_checks.compare_hashes` does; those
        behind an address are compared when they are fetched. Raises UserError with the name of a file that is missing
        or differs."""
        if fault := self._files.differing(self.manifest["files"], remember):
            raise self.damaged(fault, "its hash is not the one in manifest.json")

    def check_presence(self) -> None:
        """Raise UserError where the manifest's shards are not its files, or one of these is missing."""
        shards = self.manifest["shards"]
        indices = ((split, index) for split in SPLITS for index in range(len(shards.get(split, ()))))
        names = {shard_file(split, index, part) for split, index in indices for part in ARRAYS}
        if names != self.manifest["files"].keys() or shards.keys() != set(SPLITS):
            raise self.damaged("manifest.json", "its shards and its files do not agree")
        if corpora := self.manifest.get("corpora"):
            numbers = [[corpus["shards"][split] for corpus in corpora] for split in SPLITS]
            numbers.append([corpus["parts"] for corpus in corpora])
            whole = all(sum(own) == len(shards[split]) for own, split in zip(numbers, SPLITS, strict=False))
            if not whole or min(map(min, numbers)) < 0 or len({corpus["name"] for corpus in corpora}) < len(corpora):
                raise self.damaged("manifest.json", "its shards and its corpora do not agree")
        places = ((split, index) for split in SPLITS for index in range(len(shards[split])))
        if fault := self._files.missing(file for place in places for file in self._files_of(*place)):
            raise self.damaged(fault, "missing")

    def damaged(self, name: str, reason: str) -> UserError:
        """Return the error of a file that is damaged."""
        remedy = f"run `bertsmith prepare … --out {quote(self.address)} --overwrite`"
        return UserError(f"{self.address}/{name}: damaged ({reason}); {remedy}")

    def _files_of(self, split: str, index: int) -> list[ShardFile]:
        """Return the files of a shard, in the order of `ARRAYS`."""
        lengths = self.manifest["shards"][split][index]
        sizes = zip(ARRAYS, dtypes_of(self.manifest["tokenizer"]["vocab_size"]), strict=True)
        number = self.first[split] + index
        names = {shard_file(split, number, part): HEADER_SIZE + lengths[part] * kind.itemsize for part, kind in sizes}
        return [ShardFile(name, self.manifest["files"][name], size) for name, size in names.items()]

    def _array(self, place: ShardFile, dtype: np.dtype, length: int) -> np.ndarray:
        with self._files.open(place) as file, reported(Path(self.address, place.name)):
            header, size = file.read(HEADER_SIZE), os.fstat(file.fileno()).st_size
            if size != place.size or header != npy_header(dtype, length):
                raise self.damaged(place.name, f"not {length:,} entries of {dtype}, as manifest.json says")
            return np.memmap(file, dtype, "r", HEADER_SIZE, (length,)) if length else np.empty(0, dtype)


def open_data(path: str | Path, check: bool = True, type_name: str = "data") -> Data:
    """Open the data folder at `path`, which may be an address, and with `check` compare its files with their hashes
    (see `Data.verify`). It is of type `type_name`: a "data-part" holds a share of a corpus.

    Raises:
        UserError: it is not one, it is not finished, or a shard's file is missing or damaged.
    """
    if is_address(path):
        address = str(path).rstrip("/")
        folder = fetch_description(address)
        data = Data(folder, read_manifest(folder, type_name), address)
    else:
        data = Data(Path(path), read_manifest(Path(path), type_name))
    data.check_presence()
    if check:
        data.verify()
    return data


def data_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of all shards and of the tokenizer that a manifest tells of, and of which shards are whose where
    there are several corpora: equal for equal data, in any folder."""
    corpora = [[each["name"], each["shards"]] for each in manifest.get("corpora", ())]
    return sha256_json([manifest["files"], manifest["tokenizer"]["fingerprint"], *([corpora] if corpora else [])])


def shard_file(split: str, index: int, part: str) -> str:
    return f"{split}-{index:05d}.{part}.npy"


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
