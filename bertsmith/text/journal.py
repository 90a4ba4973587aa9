"""The journal of a preparation: a file with a line for each part of the corpus that is done and each shard that is
closed, so that `prepare` can be killed at any moment and continue.

A line is written after the data that it describes. A line cut off by a crash counts as none.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith import __version__
from bertsmith.errors import UserError
from bertsmith.storage.files import atomic_write, open_own, remove_tree, reported, sync_file, sync_folder, temporary_of
from bertsmith.storage.folders import clear, remove_names
from bertsmith.storage.manifests import FOLDER_TYPES, FORMAT_VERSION, word
from bertsmith.text.data_folders import JOURNAL_FILE, refuse_other_identity
from bertsmith.text.journal_lines import JOURNAL, JOURNAL_VERSION, read_journal, summed_line
from bertsmith.text.pieces import PIECES_FOLDER, Lengths, ShardCutter, Span, piece_path, piece_span, sum_lengths
from bertsmith.text.shards import ARRAYS, SPLITS, shard_file

SYNC_SECONDS = 10.0  # seconds of work that a power cut may lose; a killed process loses none


@dataclass
class CorpusProgress:
    """The finished work on one of the corpora.

    Attributes:
        first: by split, the number of shards before its own.
        parts: number of its parts, or of those of a share.
        counts, skipped: as of all.
    """

    first: dict[str, int]
    parts: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class PrepareProgress:
    """The finished work of a preparation.

    Attributes:
        folder: the data folder.
        dtype: of its tokens.
        parts: number of parts of the corpus whose documents are in pieces or shards.
        counts, skipped: sums over these parts, see `bertsmith.text.encoding.Encoded`.
        corpora: likewise of each corpus that was begun; a shard ends with its corpus.
        cutters: of each split, with the pieces that are not yet in closed shards.
        shards: number of tokens, lines and documents of each closed shard, by split.
        files: sha256 of each closed shard's files, by name.
    """

    folder: Path
    dtype: np.dtype
    parts: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    cutters: dict[str, ShardCutter] = field(default_factory=lambda: {split: ShardCutter() for split in SPLITS})
    shards: dict[str, list[dict[str, int]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    files: dict[str, str] = field(default_factory=dict)
    corpora: list[CorpusProgress] = field(default_factory=lambda: [CorpusProgress(dict.fromkeys(SPLITS, 0))])

    def begin_corpora(self, number: int) -> None:
        """Take what is added from now on to be of the last one of this number of corpora."""
        while len(self.corpora) < number:
            for cutter in self.cutters.values():
                cutter.finish()
            self.corpora.append(CorpusProgress({split: cutter.num_shards for split, cutter in self.cutters.items()}))

    def add(self, line: dict[str, Any]) -> list[Span]:
        """Add a line of the journal, and return the pieces that are in a shard now."""
        if "closed" in line:
            cutter = self.cutters[line["closed"]]
            if not cutter.full:
                cutter.finish()  # the last one of its split
            self.shards[line["closed"]].append(line["lengths"])
            self.files |= line["files"]
            return cutter.full.popleft() if cutter.full else []
        self.begin_corpora(line.get("corpus", 0) + 1)
        for split, lengths in line["lengths"].items():
            self.cutters[split].add(piece_span(self.folder, self.parts, split, tuple(lengths), self.dtype))
        self.parts += 1
        self.corpora[-1].parts += 1
        for progress in (self, self.corpora[-1]):
            progress.counts.update(line["counts"])
            progress.skipped.update(line["skipped"])
        return []

    def facts(self, corpora: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Return what a manifest says of the work once all shards are closed, and of what it says of each of several
        `corpora` also its parts, counts, and how many shards of each split are its own."""
        skipped, files = (dict(sorted(by_name.items())) for by_name in (self.skipped, self.files))
        facts = {"counts": dict(self.counts), "skipped": skipped, "shards": self.shards, "files": files}
        self.begin_corpora(len(corpora))
        ends = [*(each.first for each in self.corpora[1:]), {split: len(self.shards[split]) for split in SPLITS}]
        described = [
            corpus | {
                "parts": each.parts, "counts": dict(each.counts), "skipped": dict(sorted(each.skipped.items())),
                "shards": {split: end[split] - each.first[split] for split in SPLITS},
            } for corpus, each, end in zip(corpora, self.corpora, ends, strict=False)
        ]  # fmt: skip
        return facts | ({"corpora": described} if described else {})

    def lost_parts(self) -> dict[int, dict[str, Lengths]]:
        """Return the numbers of parts whose pieces are needed and not on disk, and their lengths by split: a power cut
        may keep lines of a journal and lose data."""
        lost: dict[int, dict[str, Lengths]] = {}
        for split, cutter in self.cutters.items():
            for spans in (*cutter.full, cutter.open):
                for span in spans:
                    if not span.is_on_disk():
                        number = int(Path(span.places[0].path).stem)
                        lost.setdefault(number, {})[split] = span.lengths
        return dict(sorted(lost.items()))


class Journal:
    """The journal of a data folder that is being written; `done` is its content."""

    def __init__(self, folder: Path, identity: dict[str, Any], dtype: np.dtype):
        """Open the folder's journal, or begin one; raises UserError where there is one of another `identity`."""
        self.path = folder / JOURNAL_FILE
        self.done = PrepareProgress(folder, dtype)
        self._synced_at = time.monotonic()
        self._unsynced: list[str] = []  # files of pieces
        head = {
            "kind": JOURNAL,
            "format_version": FORMAT_VERSION,
            "journal_version": JOURNAL_VERSION,
            "bertsmith_version": __version__,
            "identity": identity,
        }
        lines: Iterator[dict[str, Any]] = iter(())
        if self.path.exists():
            before, lines = read_journal(self.path)
            refuse_other_identity(folder, before["identity"], identity)
            _refuse_earlier_version(folder, before)
        else:
            self._refuse_unlisted_files(folder)
        self._sum = ""
        with atomic_write(self.path) as file:  # complete from its first line on, without a torn end
            file.write(self._with_checksum(head))
            for line in lines:
                self.done.add(line)
                file.write(self._with_checksum(line))
        with reported(self.path):
            self._file = os.fdopen(open_own(self.path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)

    def commit(self, lengths: dict[str, Lengths], counts: Counter[str], skipped: Counter[str], corpus: int = 0) -> None:
        """Note down that the pieces of the next part are there, which is of the corpus of this number."""
        number = self.done.parts
        self._unsynced += [piece_path(self.done.folder, number, split) for split in lengths if lengths[split][2]]
        durable = time.monotonic() - self._synced_at > SYNC_SECONDS
        if durable:
            self._sync_pieces()
        later = {"corpus": corpus} if corpus else {}
        self._note({"lengths": lengths, "counts": counts, "skipped": skipped, **later})
        if durable:
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()

    def close_shard(self, split: str, spans: Sequence[Span], files: dict[str, str]) -> list[Span]:
        """Note down that the next shard of the split is there, and return the pieces that it is made of."""
        sync_folder(self.done.folder)
        lengths = dict(zip(ARRAYS, sum_lengths(spans), strict=True))
        return self._note({"closed": split, "lengths": lengths, "files": files})

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        self.close()
        self.path.unlink()

    def _note(self, line: dict[str, Any]) -> list[Span]:
        with reported(self.path):
            self._file.write(self._with_checksum(line))
        return self.done.add(line)

    def _sync_pieces(self) -> None:
        """Write the pieces to disk that are not yet in shards, so that they survive a power cut."""
        for path in self._unsynced:
            with suppress(FileNotFoundError):  # in a shard by now
                sync_file(path)
        self._unsynced.clear()

    def _with_checksum(self, line: dict[str, Any]) -> bytes:
        """Return the line with a checksum of it and of all lines before it."""
        text, self._sum = summed_line(line, self._sum)
        return text

    def _refuse_unlisted_files(self, folder: Path) -> None:
        """Raise UserError where a name that will be written is taken before there is a journal to list it."""
        names = [*FOLDER_TYPES["data"].files, *(shard_file(split, 0, array) for split in SPLITS for array in ARRAYS)]
        for path in (folder / PIECES_FOLDER, *(folder / name for name in names if name != JOURNAL_FILE)):
            for taken in (path, temporary_of(path)):
                if os.path.lexists(taken):
                    raise UserError(f"{taken}: is there, and no journal of ours lists it; choose another --out")


def _refuse_earlier_version(folder: Path, head: dict[str, Any]) -> None:
    if head.get("journal_version") != JOURNAL_VERSION:
        raise UserError(
            f"{folder}: begun by bertsmith {word(head.get('bertsmith_version'))}, whose unfinished data this is no "
            f"version to go on with; finish it there, or start again with --overwrite"
        )


def journal_names(path: Path) -> list[str]:
    """Return the names in the folder that are ours by a journal: of closed shards, and of those that may be there by
    now. Raises UserError as `read_journal`."""
    head, lines = read_journal(path)
    done, names = PrepareProgress(path.parent, np.dtype(np.uint16)), [*FOLDER_TYPES["data"].files]
    indices: dict[str, set[int]] = {split: {0} for split in SPLITS}
    for line in lines:
        names += line.get("files", ())
        if head.get("journal_version") == JOURNAL_VERSION:
            done.add(line)
        else:
            for split, (index, _) in line["positions"].items():
                indices[split] |= {index, index + 1}  # the next one too: a line is written after its data
    for split, cutter in done.cutters.items():
        closed = len(done.shards[split])
        indices[split] |= set(range(closed, closed + len(cutter.full) + 1))
    return names + [
        shard_file(split, index, array) for split in SPLITS for index in sorted(indices[split]) for array in ARRAYS
    ]


def read_units(path: Path) -> dict[str, list[Lengths]]:
    """Return, by split, the lengths of what each part of the corpus gave, by the lines of a journal."""
    units: dict[str, list[Lengths]] = {split: [] for split in SPLITS}
    for line in read_journal(path)[1]:
        if "closed" not in line:
            for split in SPLITS:
                units[split].append(line["lengths"][split])
    return units


def clear_data(folder: Path, type_name: str) -> None:
    """Remove the files that a manifest or a journal of ours lists, and the manifest or journal last: if this is
    interrupted, the next call knows the remaining ones."""
    if (folder / "manifest.json").exists():
        clear(folder, FOLDER_TYPES[type_name])
    elif (folder / JOURNAL_FILE).exists():
        names = [name for name in journal_names(folder / JOURNAL_FILE) if name != JOURNAL_FILE]
        with reported(folder):
            remove_tree(folder / PIECES_FOLDER)
            remove_names(folder, names)
            (folder / JOURNAL_FILE).unlink()
