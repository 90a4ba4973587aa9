"""A corpus in, a data folder out: parallel, restartable, and the same bytes for any number of workers.

Workers turn parts of the corpus into tokens in any order and leave them on disk; which of them make which shard follows
from their lengths in the corpus's order, and workers put the shards together. The journal has a line for each part that
is done and each shard that is closed, and is all that is known of the work when it goes on.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import identity
from bertsmith.errors import UserError
from bertsmith.storage.files import Held, locked, make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.manifests import write_manifest
from bertsmith.storage.places import remedy
from bertsmith.storage.remote import is_address
from bertsmith.text.corpora import CorpusRecipe
from bertsmith.text.data_folders import JOURNAL_FILE, refuse_other_identity, refuse_other_type, skipped_line
from bertsmith.text.encoding import check_marks
from bertsmith.text.engines.settings import EngineSettings
from bertsmith.text.journal import Journal, clear_data, read_units
from bertsmith.text.named_corpora import open_corpora
from bertsmith.text.shard_making import PrepareJob, make_shards
from bertsmith.text.shards import Data, open_data
from bertsmith.text.shares import parse_share, refuse_beside_shares
from bertsmith.text.uploading import make_remote, work_folder
from bertsmith.text.weights import prepared_weights, shares_of
from bertsmith.tokenizers.tokenizer import Tokenizer


@settings
class PrepareRecipe(EngineSettings, CorpusRecipe):
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
    part: str | None = setting(
        None, "of a corpus that several machines prepare, each by itself: 3/16 is the third of 16 parts, and "
        "`bertsmith prepare merge` makes one data folder of them", identity=False,
    )  # fmt: skip


@no_empty_folder
def prepare(recipe: PrepareRecipe, out: Path | str, overwrite: bool = False) -> Data:
    """Make the data folder `out` for `recipe`, continue it where it was interrupted, or find it finished; it may be an
    address, of which `bertsmith.text.uploading` tells more. With `part`
    make one of several folders in it, of which `bertsmith.text.merging.merge_shares` makes the data folder.

    Workers import the calling program: one that calls this at its top level does so under `if __name__ == "__main__":`.

    Raises:
        UserError: a path or a setting is wrong, the corpus is broken or has no usable document; `out` was made with
            other settings, is in use, is not a data folder, cannot be written or is on a full disk. What was done
            before such an end is kept, and continued when called again.
    """
    if is_address(out):
        address = str(out).rstrip("/")
        job = _plan(recipe, address)
        data = make_remote(
            address, lambda held: _make(job, "data", held), lambda before: _refuse_other(job, before), overwrite
        )
    else:
        out = Path(out)
        job = _plan(recipe, out)
        make_folder(out)
        if job.share is not None:
            refuse_beside_shares(out)
        data = _make_folder(job, job.out, overwrite)
    _refuse_other_weights(job, data)
    return data


@no_empty_folder
def _make_folder(job: PrepareJob, out: Path, overwrite: bool) -> Data:
    """Do a preparation in its own folder, which is `out`."""
    type_name = "data" if job.share is None else "data-part"
    make_folder(out)
    with locked(out) as held:
        if not os.path.lexists(out / JOURNAL_FILE) or (out / "manifest.json").exists():
            refuse_other_type(out, type_name)
        if overwrite:
            clear_data(out, type_name)
        is_made = not (out / "manifest.json").exists()
        if is_made:
            _make(job, type_name, held)
        data = open_data(out, check=False, type_name=type_name)
        _refuse_other(job, data.manifest["identity"])
        (out / JOURNAL_FILE).unlink(missing_ok=True)  # there after a crash right after the manifest
        if not is_made:
            data.verify(remember=False)  # the files depend only on the input
        return data


def _plan(recipe: PrepareRecipe, out: Path | str) -> PrepareJob:
    """Open what a preparation needs; `out` is a text where it is an address."""
    share = None if recipe.part is None else parse_share(recipe.part)
    if share is not None and isinstance(out, str):
        raise UserError(f"--out {out}: a part is prepared in a local folder, in which `prepare merge` finds it")
    engine = recipe.make_engine()
    engine.get_ready()
    corpora = open_corpora(recipe, (out, Path(recipe.vocab)))
    tokenizer = Tokenizer.load(
        recipe.vocab, lowercase=recipe.lowercase, strip_accents=recipe.strip_accents, compat=recipe.compat
    )
    check_marks(tokenizer)
    fingerprints = {**corpora.identity, "vocab": tokenizer.fingerprint}
    decided = {"lowercase": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents}
    return PrepareJob(
        corpora=corpora,
        tokenizer=tokenizer,
        out=work_folder(out) if isinstance(out, str) else out / (share.folder_name if share else ""),
        address=out if isinstance(out, str) else None,
        identity=identity(recipe) | decided | fingerprints,
        engine=engine,
        share=share,
        vocab=recipe.vocab,
        heldout_fraction=recipe.heldout_fraction,
        skip_broken=recipe.on_error == "skip",
    )


def _refuse_other(job: PrepareJob, before: dict[str, Any]) -> None:
    """Refuse another identity as `refuse_other_identity` does; casing is part of the vocabulary's fingerprint, and
    earlier versions wrote it in another way."""
    if before.get("vocab") == job.identity["vocab"]:
        before = before | {key: job.identity[key] for key in ("lowercase", "strip_accents")}
    refuse_other_identity(job.place, before, job.identity)


def _refuse_other_weights(job: PrepareJob, data: Data) -> None:
    """Raise UserError where the data was finished before with other weights, which are no part of its identity."""
    before, now = prepared_weights(data.manifest), job.corpora.weights
    if shares_of(before) == shares_of(now):
        return
    text = {name: own.num_tokens("train") for name, own in data.corpora.items()}
    each = ", ".join(f"{name}={now.get(name, text[name]):.12g}" for name in text if text[name])
    raise UserError(
        f"{job.place}: is finished, with {_said(before)}; the recipe has {_said(now)}\n"
        f"choose weights where they are used: bertsmith pretrain … data={job.place} 'weights={{{each}}}'"
    )


def _said(weights: dict[str, float]) -> str:
    each = ", ".join(f"{name} {weight:.6g}" for name, weight in weights.items())
    return f"weights {each}" if each else "no weights (each text equally often)"


def _make(job: PrepareJob, type_name: str, held: Held) -> None:
    journal = Journal(job.out, job.identity, job.tokenizer.dtype)
    with closing(journal):
        try:
            make_shards(job, journal, held)
            if not journal.done.counts["documents"] and job.share is None:
                reason = skipped_line(journal.done.skipped) or "it is empty"
                raise UserError(f"{job.corpora.path}: no usable document ({reason}); check corpus, layout and field")
            job.tokenizer.save(job.out)
            write_manifest(job.out, type_name, _manifest(job, journal))
            journal.delete()
        except BaseException as error:
            if not journal.done.counts["documents"]:
                clear_data(job.out, type_name)
            if isinstance(error, OSError):
                reason = os.strerror(error.errno) if error.errno else str(error)
                place = str(error.filename or job.out)
                what_to_do = remedy(error, place, job.out) or "; fix it"
                raise UserError(f"{place}: {reason}{what_to_do}, then the same command goes on") from error
            raise


def _manifest(job: PrepareJob, journal: Journal) -> dict[str, Any]:
    """Return the manifest's content, which depends neither on the time nor on the number of workers."""
    share = {} if job.share is None else {"part": list(job.share), "units": read_units(journal.path)}
    corpora = job.corpora
    return share | {
        "identity": job.identity,
        "corpus": {"path": corpora.path, "files": corpora.num_files, "bytes": corpora.num_bytes},
        "tokenizer": {"fingerprint": job.tokenizer.fingerprint, "vocab_size": job.tokenizer.vocab_size},
        **journal.done.facts(corpora.describe()),
    }
