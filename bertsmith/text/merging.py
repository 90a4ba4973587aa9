"""Shares of a corpus, each prepared by itself, into the data folder that one machine would have made of it.

A share's manifest has the lengths of what each part of the corpus gave. Laid end to end these say where the shards of
the whole corpus begin and end, and workers copy what is in them out of the shares' shards.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

from bertsmith.config.fields import settings
from bertsmith.console.progress import progress_bar
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.storage.files import (
    FILES_OF_A_LOCK,
    Held,
    allow_open_files,
    atomic_write,
    locked,
    remove_tree,
    reported,
    sha256_file,
    sha256_json,
)
from bertsmith.storage.folders import differences, no_empty_folder
from bertsmith.storage.manifests import TOKENIZER, write_manifest
from bertsmith.text.assembly import Assembly
from bertsmith.text.data_folders import JOURNAL_FILE, no_document_line
from bertsmith.text.engines.engine import Engine, Workers, results_in_order
from bertsmith.text.engines.settings import EngineSettings
from bertsmith.text.journal import Journal, clear_data
from bertsmith.text.pieces import PIECES_FOLDER, Place, ShardWriter, Span, open_pieces_folder
from bertsmith.text.shard_checks import HEADER_SIZE, dtypes_of
from bertsmith.text.shards import ARRAYS, SPLITS, Data, open_data, shard_file
from bertsmith.text.shares import Share, refuse_beside_shares, share_folders
from bertsmith.text.weights import prepared_weights, shares_of

MAX_NAMED = 5  # shares, in a message
DESCRIBED = ("name", "path", "files", "bytes", "weight")  # of each of several corpora; the rest is added up


@settings
class MergeSettings(EngineSettings):
    """Settings of `prepare merge`."""


@no_empty_folder
def merge_shares(merging: MergeSettings, out: Path, overwrite: bool = False) -> Data:
    """Make the data folder `out` of the shares in it, with the bytes that one machine would have made, continue that,
    or find it finished. The shares stay.

    Raises:
        UserError: a share is missing, unfinished, damaged or in use, or made with other settings, with another
            vocabulary or by another version than the first; `out` holds something else, or is in use.
    """
    if not out.is_dir():
        raise UserError(f"{out}: no such folder; `bertsmith prepare RECIPE … part=1/16 --out DIR` makes parts in it")
    with locked(out) as held, ExitStack() as stack:
        refuse_beside_shares(out)
        was_there = not overwrite and (out / "manifest.json").exists()
        if not was_there:
            shares = _open_shares(out)
            allow_open_files(len(shares) * FILES_OF_A_LOCK)
            for data in shares:
                stack.enter_context(locked(data.path))
            if overwrite:
                clear_data(out, "data")
            with reported(out):
                _merge(shares, held, merging.make_engine())
        merged = open_data(out, check=False)
        (out / JOURNAL_FILE).unlink(missing_ok=True)  # there after a crash right after the manifest
        if was_there:
            merged.verify(remember=False)
        return merged


def _open_shares(out: Path) -> list[Data]:
    """Return the shares in a folder, which are all there and fit together."""
    folders = share_folders(out)
    totals = sorted({share.total for share in folders})
    if not totals:
        raise UserError(f"{out}: no part is here; `bertsmith prepare RECIPE … part=1/16 --out DIR` makes one")
    if len(totals) > 1:
        raise UserError(f"{out}: there are parts of {totals[0]} and of {totals[1]}; move those of one number elsewhere")
    everyone = [Share(number, totals[0]) for number in range(1, totals[0] + 1)]
    if missing := [str(share) for share in everyone if share not in folders]:
        raise UserError(f"{out}: no part {_few(missing)}; prepare what is missing, or bring its folder here")
    for share in everyone:
        if not (folders[share] / "manifest.json").exists():
            raise UserError(f"{folders[share]}: not finished; run its command (part={share}) again")
    shares = [open_data(folders[share], check=False, type_name="data-part") for share in everyone]
    for share, data in zip(everyone, shares, strict=True):
        _refuse_unlike(share, data, shares[0])
    return shares


def _refuse_unlike(share: Share, data: Data, first: Data) -> None:
    """Raise UserError where a share is not of the same whole as the first one."""
    manifest = data.manifest
    if manifest["part"] != list(share):
        raise UserError(f"{data.path}: is part {'/'.join(map(str, manifest['part']))}, not {share}; give it its name")
    version, expected = manifest["bertsmith_version"], first.manifest["bertsmith_version"]
    if version != expected:
        raise UserError(
            f"{data.path}: made by bertsmith {version}, and part 1 by {expected}; make all parts with one version"
        )
    if shares_of(prepared_weights(first.manifest)) != shares_of(prepared_weights(manifest)):
        raise UserError(f"{data.path}: its corpora have other weights than part 1's; make it again with --overwrite")
    if found := differences(first.manifest["identity"], manifest["identity"]):
        raise UserError(
            f"{data.path}: made with other settings than part 1; make it again with --overwrite\n{'; '.join(found)}"
        )


def _merge(shares: list[Data], held: Held, engine: Engine) -> None:
    """Write the data folder with the engine's workers, once the shares are compared with their hashes."""
    out, first = held.path, shares[0].manifest
    if not any(data.manifest["counts"].get("documents") for data in shares):
        raise UserError(f"{out}: no part has a usable document; check corpus, layout and field")
    # So that neither a preparation nor a merge of other parts goes on with this journal.
    identity = first["identity"] | {"merged_parts": sha256_json([data.manifest["files"] for data in shares])}
    dtype = dtypes_of(first["tokenizer"]["vocab_size"])[0]
    with closing(Journal(out, identity, dtype)) as journal:
        open_pieces_folder(out)
        with engine.start(ShardWriter(out)) as workers:
            _verify(shares, workers)
            assert shares[0].tokenizer.dtype == dtype  # and is the one of its manifest
            _copy_shards(shares, journal, held, workers)
        for data in shares:
            journal.done.counts.update(data.manifest["counts"])
            journal.done.skipped.update(data.manifest["skipped"])
            journal.done.begin_corpora(len(data.manifest.get("corpora", ())))
            for corpus, each in zip(journal.done.corpora, data.manifest.get("corpora", ()), strict=False):
                corpus.parts += each["parts"]
                corpus.counts.update(each["counts"])
                corpus.skipped.update(each["skipped"])
        for corpus, each in zip(journal.done.corpora, first.get("corpora", ()), strict=False):
            if not corpus.counts["documents"]:
                say(no_document_line(each["name"], corpus.skipped), error=True)
        remove_tree(out / PIECES_FOLDER)
        for name in TOKENIZER:
            with atomic_write(out / name) as file:
                file.write((shares[0].path / name).read_bytes())
        facts = {key: first[key] for key in ("identity", "corpus", "tokenizer")}
        described = [{key: each[key] for key in DESCRIBED if key in each} for each in first.get("corpora", ())]
        write_manifest(out, "data", facts | journal.done.facts(described))
        journal.delete()


def _copy_shards(shares: list[Data], journal: Journal, held: Held, workers: Workers) -> None:
    """Have workers put together the shards that are not yet there."""
    done, last = journal.done, max(0, len(shares[0].manifest.get("corpora", ())) - 1)
    spans = {split: [spans_of(data, split) for data in shares] for split in SPLITS}
    for number in range(last + 1):
        done.begin_corpora(number + 1)
        for split, cutter in done.cutters.items():
            for data, found in zip(shares, spans[split], strict=True):
                # The last one's to their end, where they are held to their manifest.
                own = None if number == last else data.manifest["corpora"][number]["parts"]
                for span in islice(found, own):
                    if span is not None:
                        cutter.add(span)
    for split, cutter in done.cutters.items():
        cutter.finish()
        for _ in done.shards[split]:  # closed before a kill
            cutter.full.popleft()
    total = sum(len(cutter.full) for cutter in journal.done.cutters.values())
    with progress_bar("merge", total) as bar:

        def closed(_: list[Span]) -> None:
            held.check()
            left = sum(len(cutter.full) for cutter in journal.done.cutters.values())
            bar.update(total - left, f"{total - left:,} of {total:,} shards")

        Assembly(journal, workers, closed).finish()


def spans_of(data: Data, split: str) -> Iterator[Span | None]:
    """Yield where in a share's shards the documents of each part of the corpora are, None for a part without any.
    Raises UserError where its manifest does not agree with itself."""
    fault = UserError(f"{data.path}: its manifest does not agree with itself; make the part again with --overwrite")
    dtypes, files = dtypes_of(data.manifest["tokenizer"]["vocab_size"]), iter(data.manifest["shards"][split])
    index, lengths, start = -1, [0, 0, 0], [0, 0, 0]  # of the shard; where in it the next documents are
    for unit in data.manifest["units"][split]:
        if len(unit) != len(ARRAYS) or min(unit) < 0:
            raise fault
        if not unit[2]:
            yield None
            continue
        if start == lengths:
            index, shard = index + 1, next(files, dict.fromkeys(ARRAYS, 0))
            lengths, start = [shard[array] for array in ARRAYS], [0, 0, 0]
        places = [
            Place(str(data.path / shard_file(split, index, array)), HEADER_SIZE + at * dtype.itemsize, length, dtype)
            for array, at, length, dtype in zip(ARRAYS, start, unit, dtypes, strict=True)
        ]
        yield Span((places[0], places[1], places[2]), start[0])
        start = [before + more for before, more in zip(start, unit, strict=True)]
        if any(end > length for end, length in zip(start, lengths, strict=True)):
            raise fault
    if start != lengths or next(files, None):
        raise fault


def _verify(shares: list[Data], workers: Workers) -> None:
    """Raise UserError where a file of a share is not as its manifest says."""
    files = [(data.path / name, value) for data in shares for name, value in data.manifest["files"].items()]
    done = 0
    with progress_bar("checking the parts", sum(path.stat().st_size for path, _ in files)) as bar:
        found = results_in_order(workers, _hash, ((path,) for path, _ in files))
        for (path, expected), (_, value) in zip(files, found, strict=True):
            if value != expected:
                raise UserError(f"{path}: damaged (its hash is not the one in manifest.json); make or bring it again")
            done += path.stat().st_size
            bar.update(done)


def _hash(writer: ShardWriter, path: Path) -> str:
    with reported(path):
        return sha256_file(path)


def _few(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
