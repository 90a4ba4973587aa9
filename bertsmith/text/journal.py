"""The journal of a preparation: a file with a line for each part of the corpus that is done and each shard that is
closed, so that `prepare` can be killed at any moment and continue.

A line is written after the data that it describes. A line cut off by a crash counts as none.
"""

import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import __version__
from bertsmith.errors import UserError
from bertsmith.storage.files import TEMPORARY, atomic_write, open_own, reported, temporary_of
from bertsmith.storage.folders import differences
from bertsmith.storage.json_files import check_shape, parse_json
from bertsmith.storage.manifests import FOLDER_TYPES, FORMAT_VERSION, read_manifest
from bertsmith.text.shards import ARRAYS, SPLITS, ShardWriter, WriterPosition, shard_file

JOURNAL_FILE = "journal.jsonl"

JOURNAL = "journal of a preparation"  # the type in the first line, which makes a journal.jsonl one of ours
MAX_JOURNAL_LINE = 1 << 20  # bytes; a line has about 500

_HEAD = {"kind": str, "format_version": int, "bertsmith_version?": str, "identity": dict}
_COUNTS = {str: int}
_POSITIONS = {"train?": list, "heldout?": list}
_PART = {"positions": _POSITIONS, "counts": _COUNTS, "skipped": _COUNTS}
_CLOSED = {"positions": _POSITIONS, "closed": str, "lengths": dict.fromkeys(ARRAYS, int), "files": {str: str}}

SYNC_SECONDS = 10.0  # seconds of work that a power cut may lose; a killed process loses none


@dataclass
class PrepareProgress:
    """The finished work of a preparation.

    Attributes:
        parts: number of parts of the corpus whose documents are in the shards.
        counts, skipped: sums over these parts, see `bertsmith.text.encoding.Encoded`.
        positions: of each split's writer.
        shards: number of tokens, lines and documents of each closed shard, by split.
        files: sha256 of each closed shard's files, by name.
    """

    parts: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    positions: dict[str, WriterPosition] = field(default_factory=lambda: dict.fromkeys(SPLITS, WriterPosition()))
    shards: dict[str, list[dict[str, int]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    files: dict[str, str] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line of the journal."""
        self.positions |= {
            split: WriterPosition(index, tuple(lengths)) for split, (index, lengths) in line["positions"].items()
        }
        if "closed" in line:
            self.shards[line["closed"]].append(line["lengths"])
            self.files |= line["files"]
        else:
            self.parts += 1
            self.counts.update(line["counts"])
            self.skipped.update(line["skipped"])


class Journal:
    """The journal of a data folder that is being written; `done` is its content."""

    def __init__(self, folder: Path, identity: dict[str, Any], dtype: np.dtype):
        """Open the folder's journal, or begin one; raises UserError where there is one of another `identity`."""
        self.path = folder / JOURNAL_FILE
        self.done = PrepareProgress()
        self._synced_at = time.monotonic()
        head = {
            "kind": JOURNAL,
            "format_version": FORMAT_VERSION,
            "bertsmith_version": __version__,
            "identity": identity,
        }
        lines = []
        if self.path.exists():
            before, *lines = read_journal(self.path)
            refuse_other_identity(folder, before, identity)
            lines = self._replay(lines, folder, dtype)
        else:
            self._refuse_unlisted_files(folder)
        self._sum = ""
        with atomic_write(self.path) as file:  # complete from its first line on, without a torn end
            file.writelines(map(self._with_checksum, [head, *lines]))
        with reported(self.path):
            self._file = os.fdopen(open_own(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)

    def commit(self, writers: dict[str, ShardWriter], counts: Counter[str], skipped: Counter[str]) -> None:
        """Note down that the next part of the corpus is in the shards."""
        durable = time.monotonic() - self._synced_at > SYNC_SECONDS
        if durable:
            for writer in writers.values():
                writer.sync()
        self._note({"positions": _plain(writers), "counts": counts, "skipped": skipped})
        if durable:
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()

    def close_shard(self, split: str, writer: ShardWriter) -> None:
        """Close the split's open shard, if there is one, and note it down."""
        lengths = dict(zip(ARRAYS, writer.position.lengths, strict=True))
        if files := writer.close_shard():
            self._note({"positions": _plain({split: writer}), "closed": split, "lengths": lengths, "files": files})

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        self.close()
        self.path.unlink()

    def _note(self, line: dict[str, Any]) -> None:
        with reported(self.path):
            self._file.write(self._with_checksum(line))
        self.done.add(line)

    def _with_checksum(self, line: dict[str, Any]) -> bytes:
        """Return the line with a checksum of it and of all lines before it."""
        self._sum = _sum_of(line, self._sum)
        return json.dumps(line | {"sum": self._sum}).encode() + b"\n"

    def _replay(self, lines: list[dict[str, Any]], folder: Path, dtype: np.dtype) -> list[dict[str, Any]]:
        """Return the lines whose data is there, and make `done` of them: a power cut may have kept lines and lost
        data."""
        for count in range(len(lines), -1, -1):
            self.done = PrepareProgress()
            for line in lines[:count]:
                self.done.add(line)
            positions = self.done.positions.items()
            if all(position.is_on_disk(folder, split, dtype) for split, position in positions):
                break
        return lines[:count]

    def _refuse_unlisted_files(self, folder: Path) -> None:
        """Raise UserError where a name that will be written is taken before there is a journal to list it."""
        names = [*FOLDER_TYPES["data"].files, *(shard_file(split, 0, part) for split in SPLITS for part in ARRAYS)]
        for name in names:
            for path in (folder / name, temporary_of(folder / name)):
                if os.path.lexists(path) and name != JOURNAL_FILE:
                    raise UserError(f"{path}: is there, and no journal of ours lists it; choose another --out")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return a preparation's identity and then the lines of its journal, in order, up to the first that is damaged.
    Raises UserError where it is no journal of ours."""
    with reported(path):
        first, *texts = path.read_bytes().split(b"\n")[:-1] or [b""]
    try:
        head = parse_json(first[: MAX_JOURNAL_LINE + 1], str(path), dict)
        has_checksums, before = "kind" in head, ""
        if has_checksums:
            check_shape(head, _HEAD, str(path))
            before = _check_sum(head, "", str(path))
        elif {"corpus", "vocab", "lowercase", "heldout_fraction"} <= head.keys():  # as version 0.1.0 began it
            head = {"kind": JOURNAL, "format_version": FORMAT_VERSION, "identity": head}
        if head.get("kind") != JOURNAL:
            raise UserError("another file of that name")
    except UserError:
        raise UserError(f"{path}: not the journal of a preparation; move it away, or choose another --out") from None
    if head["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path}: format {head['format_version']}, where this version reads {FORMAT_VERSION}")
    lines = [head["identity"]]
    for text in texts:
        try:
            line = _read_line(text, str(path))
            before = _check_sum(line, before, str(path)) if has_checksums else ""
        except UserError:
            break
        lines.append(line)
    return lines


def _sum_of(line: dict[str, Any], before: str) -> str:
    return hashlib.sha256(f"{before}{json.dumps(line)}".encode()).hexdigest()[:16]


def _check_sum(line: dict[str, Any], before: str, where: str) -> str:
    """Take the sum out of a line and return it. Raises UserError where it is not the line's after the one before."""
    found = line.pop("sum", None)
    if found != _sum_of(line, before):
        raise UserError(f"{where}: a line that was not written so")
    return found


def journal_names(path: Path) -> list[str]:
    """Return the names in the folder that are ours by a journal: of closed shards, of the open ones, and of the next.
    Raises UserError as `read_journal`."""
    done, names = PrepareProgress(), [*FOLDER_TYPES["data"].files]
    for line in read_journal(path)[1:]:
        done.add(line)
        names += line.get("files", ())
    for split, position in done.positions.items():
        # The next one too: a line is written after its data.
        names += [shard_file(split, index, part) for index in (position.index, position.index + 1) for part in ARRAYS]
    return names


def _read_line(text: bytes, where: str) -> dict[str, Any]:
    if len(text) > MAX_JOURNAL_LINE:
        raise UserError(f"{where}: longer than {MAX_JOURNAL_LINE:,} bytes")
    line = parse_json(text, where, dict)
    check_shape(line, _CLOSED if "closed" in line else _PART, where)
    for split, position in line["positions"].items():
        check_shape(position, [(int, list)], where, f"positions.{split}")
        index, lengths = position if len(position) == 2 else (None, [])
        check_shape(index, int, where, f"positions.{split}[0]")
        check_shape(lengths, [int], where, f"positions.{split}[1]")
        if split not in SPLITS or len(lengths) != len(ARRAYS) or min(index, *lengths) < 0:
            raise UserError(f"{where}: positions.{split} is no position of a shard")
    if "closed" in line and (line["closed"] not in SPLITS or any("/" in name for name in line["files"])):
        raise UserError(f"{where}: closed is none of {', '.join(SPLITS)}")
    return line


def refuse_other_type(folder: Path, type_name: str) -> None:
    """Raise UserError if there is something in `folder` and it is not a folder of this type."""
    if (folder / "manifest.json").exists():
        read_manifest(folder, type_name)
        return
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.suffix != TEMPORARY:
            raise UserError(f"{folder}: not a {type_name} folder, there is {path.name} in it; choose another --out")


def refuse_other_identity(folder: Path, before: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise UserError if the folder's identity is another one; the settings that differ are named."""
    if found := differences(before, identity):
        raise UserError(
            f"{folder}: made with other settings; choose another --out, or --overwrite it\n{'; '.join(found)}"
        )


def skipped_line(skipped: Counter[str]) -> str:
    """Write "2 empty, 1 not UTF-8": documents by the reason why they were skipped."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))


def _plain(writers: dict[str, ShardWriter]) -> dict[str, Any]:
    return {split: (writer.position.index, writer.position.lengths) for split, writer in writers.items()}
