"""What a second worker gains `prepare`.

    python -m benchmarks.prepare_workers --out prepare_workers.json

`archives`: the archives inside the shared corpus, `jsonl` and `parquet`: their documents as one file, `--copies` times
over, with two workers and with one, in turns; in MB of document text a second. `parquet` has row groups of 1,000 rows.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from benchmarks.trials import Trials, parser_of, shared_data
from bertsmith.text.corpora import CorpusRecipe, open_corpus
from bertsmith.text.layouts.openwebtext import ArchivePart
from bertsmith.text.prepare import PrepareRecipe, prepare

GAIN = 1.85


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--copies", type=int, default=16, help="of the corpus, 72 MB of text each")
    parser.add_argument("--only", choices=["archives", "jsonl", "parquet"])
    arguments = parser.parse_args()
    trials, chosen = Trials(arguments.out), [arguments.only] if arguments.only else [*WRITERS]
    with tempfile.TemporaryDirectory() as folder:
        for what in chosen:
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


if __name__ == "__main__":
    sys.exit(main())
