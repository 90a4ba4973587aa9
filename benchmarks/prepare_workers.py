"""What a second worker gains `prepare`, and what memory it takes as the corpus grows.

    python -m benchmarks.prepare_workers --out prepare_workers.json

`archives`: the archives inside the shared corpus, `jsonl` and `parquet`: their documents as one file, `--copies` times
over, with two workers and with one, in turns; in MB of document text a second. `parquet` has row groups of 1,000 rows.

`memory`: the most that the program and the largest of its two workers held, for the archives once, four and sixteen
times as often as `--least` says (below 4 the workers' caches of words are still filling).
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from benchmarks.trials import Trials, in_own_process, parser_of, shared_data
from bertsmith.text.corpora import CorpusRecipe, open_corpus
from bertsmith.text.layouts.openwebtext import ArchivePart
from bertsmith.text.prepare import PrepareRecipe, prepare

GAIN, FLAT = 1.85, 1.05
GROWTH = (1, 4, 16)


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--copies", type=int, default=16, help="of the corpus, 72 MB of text each")
    parser.add_argument("--least", type=int, default=4, help="copies of the smallest corpus of `memory`")
    parser.add_argument("--only", choices=["archives", "jsonl", "parquet", "memory"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # of `memory`, in a process of its own
    arguments = parser.parse_args()
    if arguments.measure:
        folder, copies = arguments.measure
        print(json.dumps(peaks(Path(folder), int(copies))))
        return
    trials, chosen = Trials(arguments.out), [arguments.only] if arguments.only else [*WRITERS, "memory"]
    with tempfile.TemporaryDirectory() as folder:
        for what in chosen:
            if what == "memory":
                memory(trials, arguments.least, arguments.repeats)
            else:
                gain(trials, what, Path(folder), arguments)


def gain(trials: Trials, what: str, folder: Path, arguments: argparse.Namespace) -> None:
    layout, write = WRITERS[what]
    num_bytes = write(folder / what, arguments.copies)

    def measure(workers: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as out:
            started_at = time.perf_counter()
            prepare(recipe(folder / what, layout, workers), Path(out, "data"))
            return {"MB/s": num_bytes / 1e6 / (time.perf_counter() - started_at)}

    contestants = {"bertsmith": lambda: measure(2), "one worker": lambda: measure(1)}
    trials.alternate(what, contestants, arguments.repeats)
    trials.ratio(what, "one worker", "MB/s", GAIN)


def recipe(corpus: Path, layout: str, workers: int) -> PrepareRecipe:
    vocab = str(shared_data() / "vocab.txt")
    return PrepareRecipe(corpus=str(corpus), layout=layout, vocab=vocab, workers=workers)


def shared_parts() -> Iterator[ArchivePart]:
    path = shared_data() / "corpora" / "openwebtext.tar.xz"
    if not path.exists():
        raise SystemExit(f"{path}: absent; set BERTSMITH_SHARED_DATA")
    for part in open_corpus(CorpusRecipe(corpus=str(path), layout="openwebtext")).parts():
        assert isinstance(part, ArchivePart)
        yield part


def shared_documents() -> list[str]:
    from collections import Counter

    return [text.decode() for part in shared_parts() for text in part.documents(Counter())]


def write_archives(folder: Path, copies: int) -> int:
    """Return the bytes of text, as the other writers do."""
    folder.mkdir()
    for number, part in enumerate(shared_parts()):
        assert part.content is not None
        for copy in range(copies):
            (folder / f"urlsf_subset{copy:03}-{number}_data.xz").write_bytes(part.content)
    return copies * sum(len(text.encode()) for text in shared_documents())


def write_json_lines(folder: Path, copies: int) -> int:
    folder.mkdir()
    texts = shared_documents()
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for _ in range(copies):
            file.write(content)
    return copies * sum(len(text.encode()) for text in texts)


def write_parquet(folder: Path, copies: int) -> int:
    folder.mkdir()
    texts = shared_documents()
    table = pa.table({"text": texts})
    with parquet.ParquetWriter(folder / "corpus.parquet", table.schema) as writer:
        for _ in range(copies):
            writer.write_table(table, row_group_size=1000)
    return copies * sum(len(text.encode()) for text in texts)


WRITERS: dict[str, tuple[str, Callable[[Path, int], int]]] = {
    "archives": ("openwebtext", write_archives),
    "jsonl": ("jsonl", write_json_lines),
    "parquet": ("parquet", write_parquet),
}
"""What → its layout, and what writes it."""


def memory(trials: Trials, least: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sizes = {f"{growth} ×": growth * least for growth in GROWTH}
        for copies in sizes.values():
            write_archives(Path(folder, str(copies)), copies)
        measures = {
            who: lambda copies=copies: in_own_process("prepare_workers", "--measure", folder, str(copies))
            for who, copies in sizes.items()
        }
        trials.alternate("memory", measures, repeats)
    for name in ("program MB", "worker MB"):
        medians = [statistics.median(trials.figures("memory", who, name)) for who in sizes]
        growth = max(medians) / min(medians)
        said = ", ".join(f"{median:,.0f}" for median in medians)
        print(f"memory: {name} {said} at {', '.join(sizes)}: {growth:.3f} × (target ≤ {FLAT})")
        trials.note("results", f"memory, {name}", {"medians": medians, "growth": growth, "reached": growth <= FLAT})


def peaks(folder: Path, copies: int) -> dict[str, float]:
    """Prepare a corpus with two workers, and return the most memory that this process and any other below it held."""
    most: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.update(peak_bytes_below())

    watching = threading.Thread(target=watch)
    watching.start()
    with tempfile.TemporaryDirectory() as out:
        prepare(recipe(folder / str(copies), "openwebtext", 2), Path(out, "data"))
    own = peak_bytes_of("self")
    done.set()
    watching.join()
    return {"program MB": own / 1e6, "worker MB": max(most.values()) / 1e6}


def peak_bytes_below() -> dict[int, int]:
    """Return process → peak for all below this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below, found = {int(Path("/proc/self").readlink().name)}, set()
    while below:
        below = {number for number, parent in parents.items() if parent in below}
        found |= below
    return {number: peak for number in found if (peak := peak_bytes_of(str(number)))}


def peak_bytes_of(process: str) -> int:
    try:
        lines = Path("/proc", process, "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    sys.exit(main())
