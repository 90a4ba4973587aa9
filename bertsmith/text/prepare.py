"""A corpus in, a data folder out: parallel, restartable, and the same bytes for any number of workers.

Workers turn parts of the corpus into tokens in any order; one writer takes them in the corpus's order and keeps a
journal: a file with a line for each part that is done.
"""

import os
import shutil
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import identity
from bertsmith.console.progress import Progress, format_count, format_seconds, progress_bar
from bertsmith.errors import UserError
from bertsmith.storage.files import Held, locked, make_folder, reported
from bertsmith.storage.folders import clear, no_empty_folder, remove_names
from bertsmith.storage.manifests import FOLDER_TYPES, write_manifest
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.corpora import Corpus, CorpusRecipe, open_corpus
from bertsmith.text.encoding import Encoded, check_marks
from bertsmith.text.journal import (
    JOURNAL_FILE,
    Journal,
    PrepareProgress,
    journal_names,
    refuse_other_identity,
    refuse_other_type,
    skipped_line,
)
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.shards import Data, ShardWriter, open_data
from bertsmith.text.workers import PartEncoder, Result, encode_parts, start_server
from bertsmith.tokenizers.tokenizer import Tokenizer

CHECKED_DOCUMENTS, CHECKED_BYTES = 100, 2000
"""Beginnings of documents that both tokenizer libraries encode before the start: 0.2 s."""

MAX_BROKEN, MAX_TOKENS = 3, 64
"""Broken files or members that are named for each part; tokens of the example before the start."""


@settings
class PrepareRecipe(CorpusRecipe):
    """Settings that turn a corpus into token shards."""

    vocab: str = setting(
        description="vocab.txt, tokenizer.json, or a folder with one of them; may move between two runs", identity=False
    )
    lowercase: bool | None = setting(
        None, "lower-case the text; by default as the vocabulary's files say, else if no word of it has a capital"
    )
    strip_accents: bool | None = setting(
        None, "take accents off; by default as the vocabulary's files say, else if lowercase, as BERT does"
    )
    compat: bool = setting(
        False, "words of up to 200 characters are cut into pieces, as the reference does, not of 100"
    )
    heldout_fraction: float = setting(0.005, "share of documents held out for evaluation, chosen by hash", ge=0, lt=1)
    on_error: Literal["stop", "skip"] = setting(
        "stop", "at a broken archive: stop, or skip what is broken and count it", identity=False
    )
    workers: int | None = setting(None, "processes; by default as many as there are cores", ge=1, identity=False)


@no_empty_folder
def prepare(recipe: PrepareRecipe, out: Path, overwrite: bool = False) -> Data:
    """Make the data folder `out` for `recipe`, continue it where it was interrupted, or find it finished.

    Workers import the calling program: one that calls this at its top level does so under `if __name__ == "__main__":`.

    Raises:
        UserError: a path or a setting is wrong, the corpus is broken or has no usable document; `out` was made with
            other settings, is in use, is not a data folder, cannot be written or is on a full disk. What was done
            before such an end is kept, and continued when called again.
    """
    job = _plan(recipe, out)
    make_folder(out)
    with locked(out) as held:
        if not os.path.lexists(out / JOURNAL_FILE) or (out / "manifest.json").exists():
            refuse_other_type(out, "data")
        if overwrite:
            _clear(out)
        is_made = not (out / "manifest.json").exists()
        if is_made:
            _make(job, held)
        data = open_data(out, check=False)
        _refuse_other(job, data.manifest["identity"])
        (out / JOURNAL_FILE).unlink(missing_ok=True)  # there after a crash right after the manifest
        if not is_made:
            data.verify(remember=False)  # the files depend only on the input
        return data


class _Job(NamedTuple):
    """A preparation with everything opened."""

    recipe: PrepareRecipe
    corpus: Corpus
    tokenizer: Tokenizer
    out: Path
    identity: dict[str, Any]  # the settings that decide the data, and fingerprints in place of paths
    workers: int


def _plan(recipe: PrepareRecipe, out: Path) -> _Job:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # not on macOS
    workers = recipe.workers or cores or 1
    if workers > 1:
        start_server()  # while the corpus and the vocabulary are looked at
    corpus = open_corpus(recipe, (out, Path(recipe.vocab)))
    tokenizer = Tokenizer.load(
        recipe.vocab, lowercase=recipe.lowercase, strip_accents=recipe.strip_accents, compat=recipe.compat
    )
    check_marks(tokenizer)
    fingerprints = {"corpus": corpus.fingerprint, "vocab": tokenizer.fingerprint}
    decided = {"lowercase": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents}
    return _Job(recipe, corpus, tokenizer, out, identity(recipe) | decided | fingerprints, workers)


def _refuse_other(job: _Job, before: dict[str, Any]) -> None:
    """Refuse another identity as `refuse_other_identity` does; casing is part of the vocabulary's fingerprint, and
    earlier versions wrote it in another way."""
    if before.get("vocab") == job.identity["vocab"]:
        before = before | {key: job.identity[key] for key in ("lowercase", "strip_accents")}
    refuse_other_identity(job.out, before, job.identity)


def _make(job: _Job, held: Held) -> None:
    journal = Journal(job.out, job.identity, job.tokenizer.dtype)
    with closing(journal):
        try:
            _write_shards(job, journal, held)
            if not journal.done.counts["documents"]:
                reason = skipped_line(journal.done.skipped) or "it is empty"
                raise UserError(f"{job.recipe.corpus}: no usable document ({reason}); check corpus, layout and field")
            job.tokenizer.save(job.out)
            write_manifest(job.out, "data", _manifest(job, journal.done))
            journal.delete()
        except BaseException as error:
            if not journal.done.counts["documents"]:
                _clear(job.out)
            if isinstance(error, OSError):
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise UserError(
                    f"{error.filename or job.out}: {reason}; fix it, then the same command goes on"
                ) from error
            raise


def _write_shards(job: _Job, journal: Journal, held: Held) -> None:
    encoder = PartEncoder(job.tokenizer, job.recipe.heldout_fraction, job.recipe.on_error == "skip")
    parts = job.corpus.parts()
    size = sum(part.size for part in islice(parts, journal.done.parts))
    num_bytes, started_at = journal.done.counts["bytes"], time.monotonic()
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar("prepare", job.corpus.num_bytes, size))
        results = stack.enter_context(encode_parts(parts, encoder, job.workers))
        writers = {
            split: stack.enter_context(closing(ShardWriter(job.out, split, job.tokenizer.dtype, position)))
            for split, position in journal.done.positions.items()
        }
        job.corpus.report_passed_over(bar.line)
        for note in (f"{job.recipe.vocab}: {job.tokenizer.casing}", *job.tokenizer.notes()):
            bar.line(note)
        if journal.done.parts:
            bar.line(f"{job.out}: goes on after {_summary(journal.done)}")
        job.tokenizer.check_against_reference(_sample(job.corpus))  # while the workers start
        is_announced = False
        for part, result in results:
            if not is_announced and result.encoded.counts["documents"] and part.size:
                _announce(job, part, result, bar)
                is_announced = True
            held.check()
            _commit(journal, writers, result.encoded)
            for reason in result.broken[:MAX_BROKEN]:
                bar.line(f"passed over: {reason}")
            if len(result.broken) > MAX_BROKEN:
                bar.line(f"passed over: {len(result.broken) - MAX_BROKEN:,} more in {part.source}")
            size += part.size
            rate = (journal.done.counts["bytes"] - num_bytes) / (time.monotonic() - started_at) / 1e6
            bar.update(size, f"{format_count(journal.done.counts['documents'])} documents, {rate:.1f} MB/s")
        for split, writer in writers.items():
            journal.close_shard(split, writer)
        bar.line(f"{job.out}: {_summary(journal.done)}")


def _commit(journal: Journal, writers: dict[str, ShardWriter], encoded: Encoded) -> None:
    for split, writer in writers.items():
        if writer.full():
            journal.close_shard(split, writer)
        writer.append(encoded.splits[split])
    journal.commit(writers, encoded.counts, encoded.skipped)


def _sample(corpus: Corpus) -> list[bytes]:
    """Return beginnings of the first documents that can be read."""
    for part in corpus.parts():
        with suppress(UnreadableInput):
            return [document[:CHECKED_BYTES] for document in islice(part.documents(Counter()), CHECKED_DOCUMENTS)]
    return []


def _announce(job: _Job, part: CorpusPart, result: Result, bar: Progress) -> None:
    """Write the expected size and time of the whole corpus, judged by this part, and the beginning of a document."""
    files, stored, encoded = len(job.corpus.files), job.corpus.num_bytes, result.encoded
    times = stored / part.size
    text, tokens = times * encoded.counts["bytes"], times * encoded.counts["tokens"]
    positions = encoded.counts["lines"] + encoded.counts["documents"]
    disk = tokens * job.tokenizer.dtype.itemsize + times * positions * 4
    free, seconds = shutil.disk_usage(job.out).free, times * result.seconds / job.workers
    bar.line(
        f"{job.recipe.corpus}: {files:,} file{'s' * (files > 1)}, {_megabytes(stored)} as stored; "
        f"expected: {_megabytes(text)} of text, {format_count(tokens)} tokens"
    )
    bar.line(
        f"{job.out}: expected: {_megabytes(disk)} of disk ({_megabytes(free)} are free), "
        f"{format_seconds(seconds)} with {job.workers} worker{'s' * (job.workers > 1)}"
    )
    shard = max(encoded.splits.values(), key=lambda shard: len(shard.tokens))
    bar.line(f"one row: {job.tokenizer.decode(shard.tokens[: min(MAX_TOKENS, shard.document_ends[0])])}")


def _megabytes(number: float) -> str:
    return f"{number / 1e6:,.{0 if number >= 1e7 else 1}f} MB"


def _manifest(job: _Job, done: PrepareProgress) -> dict[str, Any]:
    """Return the manifest's content, which depends neither on the time nor on the number of workers."""
    return {
        "identity": job.identity,
        "corpus": {"path": job.recipe.corpus, "files": len(job.corpus.files), "bytes": job.corpus.num_bytes},
        "tokenizer": {"fingerprint": job.tokenizer.fingerprint, "vocab_size": job.tokenizer.vocab_size},
        "counts": dict(done.counts),
        "skipped": dict(sorted(done.skipped.items())),
        "shards": done.shards,
        "files": done.files,
    }


def _summary(done: PrepareProgress) -> str:
    counts = done.counts
    text = f"{counts['documents']:,} documents, {counts['bytes'] / 1e6:,.1f} MB of text, {counts['tokens']:,} tokens"
    return f"{text}; skipped {skipped_line(done.skipped)}" if done.skipped else text


def _clear(out: Path) -> None:
    """Remove the files that a manifest or a journal of ours lists, and the manifest or journal last: if this is
    interrupted, the next call knows the remaining ones."""
    if (out / "manifest.json").exists():
        clear(out, FOLDER_TYPES["data"])
    elif (out / JOURNAL_FILE).exists():
        names = [name for name in journal_names(out / JOURNAL_FILE) if name != JOURNAL_FILE]
        with reported(out):
            remove_names(out, names)
            (out / JOURNAL_FILE).unlink()
