"""What a preparation has done so far, one line a step, so that it can be killed at any moment and continue.

A line is written after the data that it speaks of. A line cut off by a crash is as good as none.
"""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.config import differences
from bertsmith.errors import UserError
from bertsmith.files import TEMPORARY, reported
from bertsmith.manifests import read_manifest
from bertsmith.text.shards import PARTS, SPLITS, Position, ShardWriter

NAME = "journal.jsonl"

SYNC_SECONDS = 10.0
"""Work that a power cut may cost; a killed process loses none."""


@dataclass
class Done:
    """What a preparation has done.

    Attributes:
        units: number of units whose documents are in the shards.
        counts, skipped: sums over these units, see `bertsmith.text.encoding.Encoded`.
        positions: where each split's writer is.
        shards: number of tokens, lines and documents of each closed shard, by split.
        files: sha256 of each closed shard's files, by name.
    """

    units: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    positions: dict[str, Position] = field(default_factory=lambda: dict.fromkeys(SPLITS, Position()))
    shards: dict[str, list[dict[str, int]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    files: dict[str, str] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Take in a line of the journal."""
        self.positions |= {
            split: Position(index, tuple(lengths)) for split, (index, lengths) in line["positions"].items()
        }
        if "closed" in line:
            self.shards[line["closed"]].append(line["lengths"])
            self.files |= line["files"]
        else:
            self.units += 1
            self.counts.update(line["counts"])
            self.skipped.update(line["skipped"])


class Journal:
    """The journal of a data folder that is being written; `done` is what it says."""

    def __init__(self, folder: Path, identity: dict[str, Any], dtype: np.dtype):
        """Open the folder's journal, or begin one for a preparation of this `identity`.

        Raises:
            UserError: there is one for another identity; the settings that differ are named.
        """
        self.path = folder / NAME
        self.done = Done()
        self._synced_at = time.monotonic()
        with reported(self.path):
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
            if lines:
                refuse_other(folder, json.loads(lines[0]), identity)
                lines = self._take_in(lines, folder, dtype)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115, see `close`
            self._file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._append(identity)

    def commit(self, writers: dict[str, ShardWriter], counts: Counter[str], skipped: Counter[str]) -> None:
        """Note down that the next unit is in the shards."""
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
        lengths = dict(zip(PARTS, writer.position.lengths, strict=True))
        if files := writer.close_shard():
            self._note({"positions": _plain({split: writer}), "closed": split, "lengths": lengths, "files": files})

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        self.close()
        self.path.unlink()

    def _note(self, line: dict[str, Any]) -> None:
        self._append(line)
        self.done.add(line)

    def _append(self, line: dict[str, Any]) -> None:
        with reported(self.path):
            self._file.write(json.dumps(line).encode() + b"\n")

    def _take_in(self, lines: list[bytes], folder: Path, dtype: np.dtype) -> list[bytes]:
        """The lines whose data is there, noted as done: a power cut may have kept the last ones and lost their data."""
        for count in range(len(lines), 0, -1):
            self.done = Done()
            for line in lines[1:count]:
                self.done.add(json.loads(line))
            positions = self.done.positions.items()
            if all(position.is_on_disk(folder, split, dtype) for split, position in positions):
                break
        return lines[:count]


def refuse_foreign(folder: Path, kind: str) -> None:
    """Raise UserError if there is something in `folder` and it is not a folder of this `kind`."""
    if (folder / "manifest.json").exists():
        read_manifest(folder, kind)
        return
    for path in folder.iterdir():
        if not path.name.startswith(".") and path.suffix != TEMPORARY:
            raise UserError(f"{folder}: not a {kind} folder, there is {path.name} in it; choose another --out")


def refuse_other(folder: Path, before: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise UserError if the folder's identity is another one; the settings that differ are named."""
    if found := differences(before, identity):
        raise UserError(
            f"{folder}: made with other settings; choose another --out, or --overwrite it\n{'; '.join(found)}"
        )


def describe(skipped: Counter[str]) -> str:
    """ "2 empty, 1 not UTF-8": documents by the reason why they were skipped."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))


def _plain(writers: dict[str, ShardWriter]) -> dict[str, Any]:
    return {split: (writer.position.index, writer.position.lengths) for split, writer in writers.items()}
