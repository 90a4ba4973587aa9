"""A recipe in, stages out: datatrove's steps, and how many tasks each stage has.

    rules       a share of the corpus → its documents that pass, and hashes of them
    equal       hashes → which texts are there before
    signatures  documents → signatures of MinHash, where hashes were not enough
    buckets     signatures → pairs that share a bucket, a task a bucket
    clusters    pairs → which texts are nearly another one, one task
    write       documents → those that are left

Each task reads files of earlier stages and writes its own, so it may be done anywhere, and again.
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

from bertsmith.filtering.documents import CorpusReader, KeptReader, KeptWriter
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.rules import make_filters
from bertsmith.filtering.tally import Excluded, Tally
from bertsmith.filtering.words import PLAIN_WORDS
from bertsmith.text.corpora import Corpus

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
    writer = KeptWriter(kept, tally, report_folder(work, "rules"), several, filters)
    stages = [FilterStage("rules", [CorpusReader(corpus, recipe.on_error == "skip", tally), *filters, writer], tasks)]
    if exact:
        stages[-1].steps.append(ExactDedupSignature(str(work / "hashes"), _exact_config()))
        stages.append(
            FilterStage("equal", [ExactFindDedups(str(work / "hashes"), str(work / "equal"), _exact_config())], 1)
        )
    if minhash:
        stages += _minhash_stages(recipe, stages, tasks, work)
    if several:
        tally = Tally(recipe.sample)
        writer = KeptWriter(out, tally, report_folder(work, "write"), False)
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
    signatures, pairs, near = (str(work / name) for name in ("signatures", "pairs", "near"))
    signer = MinhashDedupSignature(signatures, config, language=PLAIN_WORDS)
    stages = []
    if recipe.exact.enabled:
        reader, equal = KeptReader(work / "kept"), ExactDedupFilter(str(work / "equal"), _exact_config())
        stages.append(FilterStage("signatures", [reader, equal, signer], tasks))
    else:
        before[-1].steps.append(signer)
    return [
        *stages,
        FilterStage("buckets", [MinhashDedupBuckets(signatures, pairs, config=config)], rule.num_buckets),
        FilterStage("clusters", [MinhashDedupCluster(pairs, near, config=config)], 1),
    ]


def _left(recipe: FilterRecipe, work: Path, tally: Tally) -> list[Any]:
    """Return the steps that read documents and leave out what is there before."""
    steps: list[Any] = [KeptReader(work / "kept")]
    if recipe.exact.enabled:
        steps.append(ExactDedupFilter(str(work / "equal"), _exact_config(), Excluded(tally, "exact", {})))
    if recipe.minhash.enabled:
        steps.append(MinhashDedupFilter(str(work / "near"), Excluded(tally, "minhash", {})))
    return steps


def _exact_config() -> ExactDedupConfig:
    return ExactDedupConfig(content_getter=_text_of, hash_config=_HASHES)


def _text_of(document: Document) -> str:
    return str(document.text)


def report_folder(work: Path, stage: str) -> Path:
    """Return the folder of a stage's tallies, a file a task."""
    return work / "tallies" / stage
