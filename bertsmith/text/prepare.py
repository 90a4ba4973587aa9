"""A corpus in, a data folder out: parallel, restartable, and the same bytes for any number of workers.

Workers turn units into tokens in any order; one writer takes them in the corpus's order and keeps a journal.
"""

import os
import shutil
import time
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from bertsmith.config import identity
from bertsmith.errors import UserError
from bertsmith.files import TEMPORARY, locked, make_folder, reported, write_manifest
from bertsmith.progress import Progress, format_count, format_seconds, progress
from bertsmith.settings import setting, settings
from bertsmith.text import journal
from bertsmith.text.corpora import Corpus, CorpusRecipe, open_corpus
from bertsmith.text.journal import Done, Journal
from bertsmith.text.shards import SPLITS, Data, ShardWriter, open_data
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.workers import Encoder, encode_units

CHECKED_DOCUMENTS, CHECKED_BYTES = 100, 2000
"""Beginnings of documents that both tokenizer libraries encode before the start: 0.2 s."""

SHOWN_TOKENS = 64
"""Of the row that is decoded before the start."""


@settings
class PrepareRecipe(CorpusRecipe):
    """How a corpus becomes token shards."""

    vocab: str = setting(
        description="vocab.txt, tokenizer.json, or a folder with one of them; may move between two runs", identity=False
    )
    lowercase: bool = setting(True, "lower-case the text; for a vocab.txt (a tokenizer.json says it itself)")
    strip_accents: bool | None = setting(
        None, "take accents off; by default if lowercase, as BERT does; for a vocab.txt"
    )
    compat: bool = setting(
        False, "words of up to 200 characters are cut into pieces, as the reference does, not of 100"
    )
    heldout_fraction: float = setting(0.005, "share of documents held out for evaluation, chosen by hash", ge=0, lt=1)
    on_error: Literal["stop", "skip"] = setting(
        "stop", "at a broken archive: stop, or skip what is broken and count it", identity=False
    )
    workers: int | None = setting(None, "processes; by default as many as there are cores", ge=1, identity=False)


def prepare(recipe: PrepareRecipe, out: Path, overwrite: bool = False) -> Data:
    """The data folder `out` for `recipe`: made, continued where it was interrupted, or found whole.

    Raises:
        UserError: a path or a setting is wrong, the corpus is broken or has no usable document; `out` was made with
            other settings, is in use, is not a data folder, cannot be written or is on a full disk. What was done
            before such an end is kept, and continued when called again.
    """
    corpus = open_corpus(recipe)
    tokenizer = Tokenizer.load(
        recipe.vocab, lowercase=recipe.lowercase, strip_accents=recipe.strip_accents, compat=recipe.compat
    )
    own = identity(recipe) | {"corpus": corpus.fingerprint, "vocab": tokenizer.fingerprint}
    is_new = not out.exists()
    make_folder(out)
    try:
        with locked(out):
            if overwrite:
                _clear(out)
            if not (out / "manifest.json").exists():
                _make(corpus, recipe, tokenizer, out, own)
            data = open_data(out)
            journal.refuse_other(out, data.manifest["identity"], own)
            (out / journal.NAME).unlink(missing_ok=True)  # there after a crash right behind the manifest
            return data
    finally:
        if is_new and not any(path.name != ".lock" for path in out.iterdir()):
            shutil.rmtree(out)


def _make(corpus: Corpus, recipe: PrepareRecipe, tokenizer: Tokenizer, out: Path, own: dict[str, Any]) -> None:
    _refuse_foreign(out)
    book = Journal(out, own, tokenizer.dtype)
    with closing(book), reported(out):
        try:
            _write_shards(corpus, recipe, tokenizer, book, out)
            if not book.done.counts["documents"]:
                raise UserError(f"{recipe.corpus}: no usable document ({_skipped(book.done) or 'it is empty'})")
        except BaseException:
            if not book.done.counts["documents"]:
                _clear(out)
            raise
        tokenizer.save(out)
        write_manifest(out, "data", _manifest(corpus, recipe, tokenizer, own, book.done))
        book.delete()


def _write_shards(corpus: Corpus, recipe: PrepareRecipe, tokenizer: Tokenizer, book: Journal, out: Path) -> None:
    workers = recipe.workers or len(os.sched_getaffinity(0))
    encoder = Encoder(tokenizer, recipe.heldout_fraction, recipe.on_error == "skip")
    writers = {split: ShardWriter(out, split, tokenizer.dtype, book.done.positions[split]) for split in SPLITS}
    units = corpus.units()
    done_size = sum(unit.size for unit in islice(units, book.done.units))
    with progress("prepare", corpus.num_bytes, done_size) as bar:
        if book.done.units:
            bar.line(f"{out}: continuing after {_summary(book.done)}")
        _preview(corpus, encoder, bar, (corpus.num_bytes - done_size) / workers)
        started_at, started_bytes = time.monotonic(), book.done.counts["bytes"]
        with closing(encode_units(units, encoder, workers)) as results:
            for unit, encoded in results:
                for split, writer in writers.items():
                    if writer.full():
                        book.close_shard(split, writer)
                    writer.append(encoded.splits[split])
                book.commit(writers, encoded.counts, encoded.skipped)
                if encoded.skipped["broken archive"]:
                    bar.line(f"{unit.source}: broken, passed over")
                done_size += unit.size
                rate = (book.done.counts["bytes"] - started_bytes) / (time.monotonic() - started_at) / 1e6
                bar.update(done_size, f"{format_count(book.done.counts['documents'])} documents, {rate:.1f} MB/s")
        for split, writer in writers.items():
            book.close_shard(split, writer)
        bar.line(f"{out}: {_summary(book.done)}")


def _preview(corpus: Corpus, encoder: Encoder, bar: Progress, work: float) -> None:
    """Encode the first unit for a look: say what to expect, hold one tokenizer library to the other, show a row.

    `work` is the number of bytes, as stored, that a worker has before it.
    """
    for unit in corpus.units():
        started_at = time.perf_counter()
        encoded = encoder(unit)
        seconds = time.perf_counter() - started_at
        if encoded.counts["documents"]:
            break
    else:
        return
    encoder.tokenizer.check_against_reference(
        [document[:CHECKED_BYTES] for document in islice(unit.documents(Counter()), CHECKED_DOCUMENTS)]
    )
    times = corpus.num_bytes / unit.size
    disk = times * sum(array.nbytes for shard in encoded.splits.values() for array in vars(shard).values())
    text, tokens = times * encoded.counts["bytes"] / 1e6, format_count(times * encoded.counts["tokens"])
    bar.line(
        f"{corpus.recipe.corpus}: {len(corpus.files):,} files, {corpus.num_bytes / 1e6:,.0f} MB as stored; expected: "
        f"{text:,.0f} MB of text, {tokens} tokens, {disk / 1e6:,.0f} MB of disk, {format_seconds(seconds * work / unit.size)}"
    )
    shard = max(encoded.splits.values(), key=lambda shard: len(shard.tokens))
    bar.line(f"one row: {encoder.tokenizer.decode(shard.tokens[: min(SHOWN_TOKENS, shard.document_ends[0])])}")


def _manifest(
    corpus: Corpus, recipe: PrepareRecipe, tokenizer: Tokenizer, own: dict[str, Any], done: Done
) -> dict[str, Any]:
    """Nothing in it depends on the time or on the number of workers."""
    return {
        "identity": own,
        "corpus": {"path": recipe.corpus, "files": len(corpus.files), "bytes": corpus.num_bytes},
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size},
        "counts": dict(done.counts),
        "skipped": dict(sorted(done.skipped.items())),
        "shards": done.shards,
        "files": done.files,
    }


def _summary(done: Done) -> str:
    counts = done.counts
    text = f"{counts['documents']:,} documents, {counts['bytes'] / 1e6:,.1f} MB of text, {counts['tokens']:,} tokens"
    return f"{text}; skipped {skipped}" if (skipped := _skipped(done)) else text


def _skipped(done: Done) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.skipped.items()))


def _refuse_foreign(out: Path) -> None:
    """`out` is filled with what others may overwrite later: it has to be ours from the start."""
    if not (out / journal.NAME).exists():
        for path in out.iterdir():
            if not path.name.startswith(".") and path.suffix != TEMPORARY:
                raise UserError(f"{out}: not a data folder, there is {path.name} in it; choose another --out")


def _clear(out: Path) -> None:
    """Remove what `prepare` writes, the manifest first, and nothing else."""
    if (out / "manifest.json").exists():
        open_data(out)
    (out / "manifest.json").unlink(missing_ok=True)
    for pattern in (journal.NAME, "*.npy", f"*.npy{TEMPORARY}", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        for path in out.glob(pattern):
            path.unlink()
