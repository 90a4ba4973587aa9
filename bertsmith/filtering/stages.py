"""A recipe in, stages out: datatrove's steps, and how many tasks each stage has.

    rules       a share of the corpus → its documents that pass, and hashes of them
    equal       hashes → which texts are there before
    signatures  documents → signatures of MinHash, where hashes were not enough
    buckets     signatures → pairs that share a bucket, a task a bucket
    clusters    pairs → which texts are nearly another one, one task
    write       documents → those that are left

Each task reads files of earlier stages and writes its own, so it may be done anywhere, and again. What a stage writes
is in the folder of its name, but for "rules": that writes "kept" (or the result), "hashes" and "signatures".
"""

from pathlib import Path
from typing import Any, NamedTuple

from datatrove.data import Document
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig

from bertsmith.filtering.documents import CorpusReader, KeptReader, KeptWriter, OpenFiles
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.rules import make_filters
from bertsmith.filtering.tally import Excluded, Tally
from bertsmith.filtering.words import SHINGLE_WORDS
from bertsmith.text.corpora import Corpus

FILES_A_TASK = 3
"""Open at a time where all tasks are compared: its hashes, its duplicates, and how many each of them has."""

_HASHES = HashConfig(precision=64, hash_fc="sha1")  # of the standard library


class FilterStage(NamedTuple):
    """Tasks that need not wait for each other: each does all steps for its rank."""

    name: str
    steps: list[Any]
    tasks: int


def make_stages(recipe: FilterRecipe, corpus: Corpus, tasks: int, out: Path, work: Path) -> list[FilterStage]:
    """Return the stages in their order; each reads what those before it have written in the folder `work`, and the last
    one writes in `out`."""
    exact, minhash = recipe.exact.enabled, recipe.minhash.enabled
    tally, several = Tally(recipe.sample), exact or minhash
    filters, kept = make_filters(recipe, tally), work / "kept" if several else out
    writer = KeptWriter(kept, tally, tally_folder(work, "rules"), is_last=not several)
    stages = [FilterStage("rules", [CorpusReader(corpus, recipe.on_error == "skip", tally), *filters, writer], tasks)]
    if exact:
        stages[-1].steps.append(ExactDedupSignature(str(work / "hashes"), _exact_config()))
        finder = ExactFindDedups(str(work / "hashes"), str(work / "equal"), _exact_config())
        stages.append(FilterStage("equal", [OpenFiles(FILES_A_TASK * tasks), finder], 1))
    if minhash:
        stages += _minhash_stages(recipe, stages, tasks, work)
    if several:
        tally = Tally(recipe.sample)
        writer = KeptWriter(out, tally, tally_folder(work, "write"), is_last=True)
        stages.append(FilterStage("write", [*_left(recipe, work, tally), writer], tasks))
    return stages


def _minhash_stages(recipe: FilterRecipe, before: list[FilterStage], tasks: int, work: Path) -> list[FilterStage]:
    rule = recipe.minhash
    config = MinhashConfig(
        n_grams=rule.n_grams,
        num_buckets=rule.num_buckets,
        hashes_per_bucket=rule.hashes_per_bucket,
        seed=rule.seed,
        hash_config=_HASHES,
    )
    signatures, pairs, near = (str(work / name) for name in ("signatures", "buckets", "clusters"))
    signer, files = MinhashDedupSignature(signatures, config, language=SHINGLE_WORDS), OpenFiles(FILES_A_TASK * tasks)
    stages = []
    if recipe.exact.enabled:
        reader, equal = _kept_reader(work), ExactDedupFilter(str(work / "equal"), _exact_config())
        stages.append(FilterStage("signatures", [reader, equal, signer], tasks))
    else:
        before[-1].steps.append(signer)
    return [
        *stages,
        FilterStage("buckets", [files, MinhashDedupBuckets(signatures, pairs, config=config)], rule.num_buckets),
        FilterStage("clusters", [files, MinhashDedupCluster(pairs, near, config=config)], 1),
    ]


def _left(recipe: FilterRecipe, work: Path, tally: Tally) -> list[Any]:
    """Return the steps that read documents and leave out what is there before."""
    steps: list[Any] = [_kept_reader(work)]
    if recipe.exact.enabled:
        steps.append(ExactDedupFilter(str(work / "equal"), _exact_config(), Excluded(tally, "exact", {})))
    if recipe.minhash.enabled:
        steps.append(MinhashDedupFilter(str(work / "clusters"), Excluded(tally, "minhash", {})))
    return steps


def _kept_reader(work: Path) -> KeptReader:
    return KeptReader(work / "kept", tally_folder(work, "rules"))


def _exact_config() -> ExactDedupConfig:
    return ExactDedupConfig(content_getter=_text_of, hash_config=_HASHES)


def _text_of(document: Document) -> str:
    return str(document.text)


def tally_folder(work: Path, stage: str) -> Path:
    """Return the folder of a stage's tallies, a file a task."""
    return work / "tallies" / stage
