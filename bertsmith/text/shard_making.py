"""A corpus into the shards of a folder: parts are given to workers, their results noted down, full shards closed."""

import shutil
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.console.progress import Progress, format_count, format_seconds, progress_bar
from bertsmith.errors import UserError
from bertsmith.storage.files import Held, remove_tree
from bertsmith.text.assembly import Assembly, remove_pieces
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.data_folders import no_document_line, skipped_line
from bertsmith.text.engines.engine import Engine, results_in_order
from bertsmith.text.journal import CorpusProgress, Journal, PrepareProgress
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.named_corpora import Corpora
from bertsmith.text.part_encoder import PartEncoder, Result
from bertsmith.text.pieces import PIECES_FOLDER, Lengths, open_pieces_folder, piece_span
from bertsmith.text.shares import Share
from bertsmith.text.uploading import JournalCopy
from bertsmith.tokenizers.tokenizer import Tokenizer

CHECKED_DOCUMENTS, CHECKED_BYTES = 100, 2000
"""Beginnings of documents that both tokenizer libraries encode before the start: 0.2 s."""

MAX_BROKEN, MAX_TOKENS = 3, 64
"""Broken files or members that are named for each part; tokens of the example before the start."""


class PrepareJob(NamedTuple):
    """A preparation with everything opened."""

    corpora: Corpora
    tokenizer: Tokenizer
    out: Path  # where the work is done
    address: str | None  # where the shards are written, if that is elsewhere
    identity: dict[str, Any]  # the settings that decide the data, and fingerprints in place of paths
    engine: Engine
    share: Share | None  # of the corpus; None for all of it
    vocab: str  # where the tokenizer is from
    heldout_fraction: float
    skip_broken: bool

    @property
    def place(self) -> str:
        """The data folder, for messages."""
        return self.address or str(self.out)

    @property
    def num_bytes(self) -> int:
        """The bytes of the corpus's files that are read, about."""
        return self.corpora.num_bytes // (1 if self.share is None else self.share.total)


def make_shards(job: PrepareJob, journal: Journal, held: Held) -> None:
    """Do what is left of a preparation, and return when all shards are closed."""
    open_pieces_folder(job.out)
    todo = _Todo(job, journal.done.parts, journal.done.lost_parts())
    num_bytes, size, started_at = journal.done.counts["bytes"], 0, time.monotonic()
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar("prepare", job.num_bytes))
        encoder = PartEncoder(job.out, job.tokenizer, job.heldout_fraction, job.skip_broken, address=job.address)
        copy = JournalCopy(journal.path, job.address) if job.address else None
        workers = stack.enter_context(job.engine.start(encoder))
        results = results_in_order(workers, PartEncoder.encode, iter(todo))
        job.corpora.report_files(bar.line)
        for note in (f"{job.vocab}: {job.tokenizer.casing}", *job.tokenizer.notes()):
            bar.line(note)
        if journal.done.parts:
            bar.line(f"{job.place}: goes on after {_summary(journal.done)}")
        job.tokenizer.check_against_reference(_sample(job.corpora))  # while the workers start
        assembly, is_announced = Assembly(journal, workers, remove_pieces), False
        for (number, part), result in results:
            if not is_announced and result.counts["documents"] and part.size:
                _announce(job, number, part, result, bar)
                is_announced = True
            held.check()
            if number in todo.lost:
                todo.found_again(number, part, result)
            else:
                journal.commit(result.lengths, result.counts, result.skipped, todo.corpus_of(number))
            if not todo.lost:
                assembly.go_on()
            if copy:
                copy.renew()
            for reason in result.broken[:MAX_BROKEN]:
                bar.line(f"passed over: {reason}")
            if len(result.broken) > MAX_BROKEN:
                bar.line(f"passed over: {len(result.broken) - MAX_BROKEN:,} more in {part.source}")
            size += part.size
            rate = (journal.done.counts["bytes"] - num_bytes) / (time.monotonic() - started_at) / 1e6
            bar.initial = todo.size_before
            details = f"{format_count(journal.done.counts['documents'])} documents, {rate:.1f} MB/s"
            bar.update(todo.size_before + size, details)
        assembly.finish()
        journal.done.begin_corpora(len(job.corpora.names))  # of the last ones no part may have come
        for name, corpus in zip(job.corpora.names, journal.done.corpora, strict=False):
            bar.line(f"{name}: {_summary(corpus)}")
            if not corpus.counts["documents"] and job.share is None:
                bar.line(no_document_line(name, corpus.skipped))
        bar.line(f"{job.place}: {_summary(journal.done)}")
    remove_tree(job.out / PIECES_FOLDER)


class _Todo:
    """The parts of a corpus that are to be encoded: those after the `done` ones, and of these the `lost` ones.

    Attributes:
        lost: number → lengths of those that are encoded again, which have to come out as before.
        size_before: of the parts that are passed over, in the bytes of their files.
    """

    def __init__(self, job: PrepareJob, done: int, lost: dict[int, dict[str, Lengths]]):
        self._job, self._done = job, done
        self.lost, self.size_before = lost, 0
        self._first: list[int] = []  # part of each corpus that was listed so far

    def __iter__(self) -> Iterator[tuple[int, CorpusPart]]:
        again = set(self.lost)
        for number, (corpus, part) in enumerate(self._job.corpora.parts(self._job.share)):
            self._first += [number] * (corpus + 1 - len(self._first))
            if number >= self._done or number in again:
                yield number, part
            else:
                self.size_before += part.size

    def corpus_of(self, number: int) -> int:
        """Return the number of a part's corpus."""
        return bisect_right(self._first, number) - 1

    def found_again(self, number: int, part: CorpusPart, result: Result) -> None:
        """Take note of a lost part. Raises UserError where it is another one than before."""
        if self.lost.pop(number).items() - result.lengths.items():
            raise UserError(f"{part.source}: has changed since it was read; start again with --overwrite")


def _sample(corpora: Corpora) -> list[bytes]:
    """Return beginnings of the first documents that can be read, of each corpus as many."""
    sample: list[bytes] = []
    for corpus in corpora.all:
        for part in corpus.parts():
            with suppress(UnreadableInput):
                first = islice(part.documents(Counter()), max(1, CHECKED_DOCUMENTS // len(corpora.all)))
                sample += [document[:CHECKED_BYTES] for document in first]
                break
    return sample


def _announce(job: PrepareJob, number: int, part: CorpusPart, result: Result, bar: Progress) -> None:
    """Write the expected size and time of the whole work, judged by this part, and the beginning of a document."""
    files, counts = job.corpora.num_files, result.counts
    times = job.num_bytes / part.size
    text, tokens = times * counts["bytes"], times * counts["tokens"]
    positions = counts["lines"] + counts["documents"]
    disk = tokens * job.tokenizer.dtype.itemsize + times * positions * 4
    workers = job.engine.num_workers
    free = "" if job.address else f" ({_megabytes(shutil.disk_usage(job.out).free)} are free)"
    share = "" if job.share is None else f", of which part {job.share} is prepared here"
    bar.line(
        f"{job.corpora.path}: {files:,} file{'s' * (files > 1)}, {_megabytes(job.corpora.num_bytes)} as stored"
        f"{share}; expected: {_megabytes(text)} of text, {format_count(tokens)} tokens"
    )
    bar.line(
        f"{job.place}: expected: {_megabytes(disk)} of disk{free}, "
        f"{format_seconds(times * result.seconds / workers)} with {workers} worker{'s' * (workers > 1)}"
    )
    split = max(result.lengths, key=lambda split: result.lengths[split])
    ids, _, ends = piece_span(job.out, number, split, result.lengths[split], job.tokenizer.dtype).places
    bar.line(f"one row: {job.tokenizer.decode(next(ids.blocks())[: min(MAX_TOKENS, next(ends.blocks())[0])])}")


def _megabytes(number: float) -> str:
    return f"{number / 1e6:,.{0 if number >= 1e7 else 1}f} MB"


def _summary(done: PrepareProgress | CorpusProgress) -> str:
    counts = done.counts
    text = f"{counts['documents']:,} documents, {counts['bytes'] / 1e6:,.1f} MB of text, {counts['tokens']:,} tokens"
    return f"{text}; skipped {skipped_line(done.skipped)}" if done.skipped else text
