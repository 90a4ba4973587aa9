"""What large corpora and several GPUs take, computed of rates that were measured: the tables of docs/scale.md.

    python -m benchmarks.scale                  # prints them
    python -m benchmarks.scale --write          # writes them between the marks in docs/scale.md

Rates are medians of the JSON files beside this program. GPUs are counted by `bertsmith plan`, with the share of the
data sheet's peak that was measured. What is assumed is in `ASSUMED`, and said above the tables.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.journal_units import COUNTS
from bertsmith.console.progress import format_count
from bertsmith.planning.estimate import Assumptions, OnGPU, estimate
from bertsmith.planning.gpus import find_gpus
from bertsmith.text.shards import SHARD_TOKENS

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- python -m benchmarks.scale: begins -->\n", "<!-- python -m benchmarks.scale: ends -->\n"


class Assumed(NamedTuple):
    """What was not measured here."""

    core_price: float = 0.04  # USD an hour
    network: float = 12.5e9  # bytes a second into or out of a machine with GPUs, `plan`'s own
    node_network: float = 1.25e9  # of a machine without, 10 Gbit/s
    storage: float = 5e9  # bytes a second of the file system that nodes share, read and written together
    disk: float = 1e9  # of a machine's own


class Corpus(NamedTuple):
    """A corpus of documents, compressed as OpenWebText's are."""

    name: str
    text: float  # bytes


class Cluster(NamedTuple):
    """Machines that prepare text."""

    name: str
    nodes: int
    cores: int = 32  # of each

    @property
    def workers(self) -> int:
        return self.nodes * self.cores


ASSUMED = Assumed()
CORPORA = (Corpus("OpenWebText, 40 GB of text", 40e9), Corpus("10 TB of text", 10e12))
CLUSTERS = (Cluster("32 cores", 1), Cluster("ten nodes of 32 cores", 10))
STORED, TOKENS, PREPARED = 0.322, 0.2137, 0.4445
"""Bytes of archives, tokens, and bytes of shards for a byte of text: of the shared corpus's archives, as `prepare`
says them (92.8 MB, 61.6 M tokens and 128 MB for 288 MB)."""
GPU, RECIPE = "H200", "bert-base"
TRAININGS = ((1, 256, 1_000_000), (8, 256, 1_000_000), (64, 256, 1_000_000), (64, 4096, 62_500))
"""GPUs, rows of 128 a step over all of them, and steps: the recipe's, and as many tokens in larger batches."""


class Rates(NamedTuple):
    """What was measured."""

    worker: float  # bytes of text a second
    second: float  # what a second worker gains, in (1, 2]
    unit_seconds: float  # of the command, for a part of the corpus
    resume_seconds: float  # for a part that is in the journal
    journal_bytes: float  # for a part
    manifest_bytes: float  # for a part
    journal_memory: float  # bytes, of the command after `num_units`
    num_units: float
    feed: float  # tokens a second
    gpu: float  # tokens a second

    @property
    def unit_bytes(self) -> float:
        return float(COUNTS["bytes"])

    @property
    def command(self) -> float:
        """Bytes of text a second that one command keeps workers busy with."""
        return self.unit_bytes / self.unit_seconds


def measured() -> Rates:
    units = {trial["who"]: trial for trial in trials("journal_units")}  # of several, the last
    write, again, manifest = (units[who] for who in ("write", "go on", "manifest"))
    tasks, num_units = units["hand out"], number_of(write)
    one, two = (median("prepare_workers", "archives", who, "MB/s") for who in ("one worker", "bertsmith"))
    return Rates(
        worker=one * 1e6,
        second=two / one,
        unit_seconds=write["seconds"] / num_units + tasks["seconds"] / tasks["tasks"],
        resume_seconds=again["seconds"] / number_of(again),
        journal_bytes=write["MB on disk"] * 1e6 / num_units,
        manifest_bytes=manifest["MB on disk"] * 1e6 / number_of(manifest),
        journal_memory=max(found["peak MB"] for found in (write, again, manifest)) * 1e6,
        num_units=num_units,
        feed=median("feed", "feed", "bertsmith", "tokens/s"),
        gpu=median("gpu-h200", "BERT-base", "bertsmith", "tokens/s"),
    )


def trials(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(__file__).with_name(f"{name}.json").read_text("utf-8"))["trials"]
    return found


def number_of(trial: dict[str, Any]) -> float:
    """Return of how many parts a trial of `benchmarks.journal_units` is."""
    return float(trial["what"].split()[0].replace(",", ""))


def median(name: str, what: str, who: str, figure: str) -> float:
    return statistics.median(
        trial[figure] for trial in trials(name) if (trial["what"], trial["who"]) == (what, who)
    )  # fmt: skip


class Preparation(NamedTuple):
    """What preparing a corpus takes."""

    rate: float  # bytes of text a second
    seconds: float
    limits: dict[str, float]  # what bounds the rate → bytes of text a second, the lowest first

    @property
    def first(self) -> str:
        return next(iter(self.limits))


def preparation(corpus: Corpus, cluster: Cluster, rates: Rates) -> Preparation:
    """Count how long a corpus takes: text is read once and written twice, as pieces and as shards."""
    traffic = STORED + 2 * PREPARED
    place = {"the disk": ASSUMED.disk / traffic}
    if cluster.nodes > 1:
        place = {"the shared file system": ASSUMED.storage / traffic, "the nodes' network": cluster.nodes * (
            ASSUMED.node_network / traffic)}  # fmt: skip
    workers = cluster.workers * rates.worker * rates.second / 2
    limits = {"the cores": workers, "the command": rates.command} | place
    ordered = dict(sorted(limits.items(), key=lambda item: item[1]))
    rate = next(iter(ordered.values()))
    return Preparation(rate, corpus.text / rate, ordered)


def training(gpus: int, rows: int, steps: int, rates: Rates) -> tuple[OnGPU, float]:
    """Return `plan`'s estimate, and the share of the time of which a host can make the batches."""
    given = [f"batch_size={rows}", f"plan.steps={steps}"]
    [gpu] = find_gpus([GPU])
    flops = estimate(RECIPE, given, Assumptions(gpus=[GPU])).flops_per_token
    reached = rates.gpu * flops / (gpu.bfloat16_flops or math.inf)
    assumed = Assumptions(utilisation=reached, gpus=[GPU], num_gpus=gpus, network=ASSUMED.network)
    on = estimate(RECIPE, given, assumed).gpus[0]
    assert on.tokens_per_second is not None
    return on, on.tokens_per_second / rates.feed


def tables() -> str:
    rates = measured()
    return "\n".join([*_rates(rates), "", *_preparing(rates), "", *_units(rates), "", *_training(rates), ""])


def _rates(rates: Rates) -> list[str]:
    rows = [
        (
            "one worker of `prepare` on archives",
            f"{rates.worker / 1e6:.0f} MB of text a second; two workers {rates.second:.2f} ×",
            "prepare_workers.json",
        ),
        (
            "the command that gives out parts and keeps the journal",
            f"{rates.unit_seconds * 1e6:.0f} µs for a part of {rates.unit_bytes / 1e6:.1f} MB",
            "journal_units.json",
        ),
        ("batches of rows with masks, on one core", f"{format_count(rates.feed)} tokens/s", "feed.json"),
        ("BERT-base on an H200, 256 rows of 128", f"{format_count(rates.gpu)} tokens/s", "gpu-h200.json"),
    ]
    return table(("rate", "measured", "in `benchmarks/`"), rows)


def _preparing(rates: Rates) -> list[str]:
    rows = []
    for corpus in CORPORA:
        for cluster in CLUSTERS:
            found = preparation(corpus, cluster, rates)
            limits = [f"{name} {value / 1e9:.1f}" for name, value in found.limits.items()]
            hours = found.seconds / 3600
            rows.append((
                corpus.name, cluster.name, duration(found.seconds),
                dollars(cluster.workers * hours * ASSUMED.core_price),
                f"{found.rate * STORED / 1e9:.2f} in, {found.rate * 2 * PREPARED / 1e9:.2f} out",
                size(corpus.text * PREPARED), ", ".join(limits),
            ))  # fmt: skip
    titles = ("corpus", "on", "time", "cost", "GB/s of corpus and data", "disk", "bounds in GB/s of text, lowest first")
    return table(titles, rows)


def _units(rates: Rates) -> list[str]:
    rows = []
    for corpus in CORPORA:
        units = corpus.text / rates.unit_bytes
        shards = corpus.text * TOKENS / SHARD_TOKENS
        rows.append((
            corpus.name, format_count(units), format_count(shards), size(units * rates.journal_bytes),
            size(units * rates.manifest_bytes), duration(units * rates.resume_seconds),
        ))  # fmt: skip
    titles = ("corpus", "parts", "shards", "journal", "manifest", "reading the journal to go on")
    memory = f"The command held {rates.journal_memory / 1e6:.0f} MB after {rates.num_units:,.0f} parts."
    return [*table(titles, rows), "", memory]


def _training(rates: Rates) -> list[str]:
    rows = []
    for gpus, batch, steps in TRAININGS:
        on, fed = training(gpus, batch, steps, rates)
        assert on.seconds is not None and on.cost is not None
        seconds = on.seconds * max(1.0, fed)
        first = "batches" if fed > 1 else "sums" if (on.reducing or 0) > 0.2 else "nothing"
        rows.append((
            f"{gpus}", f"{batch:,} × {steps:,}", duration(seconds), dollars(on.cost * max(1.0, fed)),
            f"{on.reducing or 0:.0%}", f"{fed:.0%}", first,
        ))  # fmt: skip
    titles = ("H200s", "rows × steps", "time", "cost", "of it sums", "of what one host makes", "what bounds it")
    return table(titles, rows)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length or (unit == "min" and seconds >= 60):
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s"


def size(number: float) -> str:
    scale, unit = next((found for found in ((1e12, "TB"), (1e9, "GB")) if number >= found[0]), (1e6, "MB"))
    return f"{number / scale:,.{0 if number >= 10 * scale else 1}f} {unit}"


def dollars(number: float) -> str:
    return f"${number:,.{0 if number >= 10 else 2}f}"


def written_page(page: str) -> str:
    """Return the page with the tables between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scale.md")
    if parser.parse_args().write:
        PAGE.write_text(written_page(PAGE.read_text("utf-8")), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
