"""How fast `prepare` is: against decompression alone, and against `datasets.map` as Hugging Face's run_mlm uses it.

    python -m benchmarks.prepare --out prepare.json

`archives`: the archives inside the shared corpus, eight times over so that start-up does not count, two workers;
beside it two processes that do nothing but `lzma.decompress` the same archives. In MB of document text a second.

`text`: the same documents as one text file, in the page cache, two workers; beside it `datasets.map` over the
documents in memory, two processes: a fast tokenizer, then grouping into rows of 128. The peer gets one copy of the
text, bertsmith as many as make its start-up matter less.
"""

import argparse
import lzma
import multiprocessing
import re
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path

from benchmarks.trials import Trials, parser_of, shared_data
from bertsmith.text.corpora import CorpusRecipe, open_corpus
from bertsmith.text.prepare import PrepareRecipe, prepare

WORKERS = 2
ROW = 128


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--copies", type=int, default=8, help="of the corpus, for bertsmith")
    parser.add_argument("--only", choices=["archives", "text"])
    arguments = parser.parse_args()
    shared = shared_data()
    vocab, corpus = Path(shared, "vocab.txt"), Path(shared, "corpora", "openwebtext.tar.xz")
    if not corpus.exists():
        raise SystemExit(f"{corpus}: absent; set BERTSMITH_SHARED_DATA")
    trials = Trials(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "text":
            archives(trials, corpus, vocab, Path(folder, "archives"), arguments)
        if arguments.only != "archives":
            text(trials, corpus, vocab, Path(folder, "text"), arguments)


def archives(trials: Trials, corpus: Path, vocab: Path, folder: Path, arguments: argparse.Namespace) -> None:
    folder.mkdir()
    parts = list(open_corpus(CorpusRecipe(corpus=str(corpus), layout="openwebtext")).parts())
    paths = []
    for copy in range(arguments.copies):
        for number, part in enumerate(parts):
            paths.append(folder / f"urlsf_subset{copy:02}-{number}_data.xz")
            paths[-1].write_bytes(part.content)
    num_bytes = arguments.copies * sum(len(document) for document in _documents(parts))

    def own() -> dict[str, float]:
        return {"MB/s": num_bytes / 1e6 / _seconds(lambda out: prepare(_recipe(folder, "openwebtext", vocab), out))}

    def decompress() -> dict[str, float]:
        with multiprocessing.Pool(WORKERS) as pool:
            pool.map(_decompress, paths[:WORKERS])
            return {"MB/s": num_bytes / 1e6 / _seconds(lambda out: pool.map(_decompress, paths, chunksize=1))}

    trials.alternate("archives", {"bertsmith": own, "lzma.decompress": decompress}, arguments.repeats)
    trials.ratio("archives", "lzma.decompress", "MB/s", 0.5)


def text(trials: Trials, corpus: Path, vocab: Path, folder: Path, arguments: argparse.Namespace) -> None:
    folder.mkdir()
    parts = open_corpus(CorpusRecipe(corpus=str(corpus), layout="openwebtext")).parts()
    documents = [re.sub(rb"\n\s*\n", b"\n", document) for document in _documents(parts)]
    content = b"\n\n".join(documents) + b"\n\n"
    with open(folder / "corpus.txt", "wb") as file:
        for _ in range(arguments.copies):
            file.write(content)

    def own() -> dict[str, float]:
        recipe = _recipe(folder, "text", vocab, documents="blank_lines")
        return {"MB/s": len(content) * arguments.copies / 1e6 / _seconds(lambda out: prepare(recipe, out))}

    def peer() -> dict[str, float]:
        import datasets

        datasets.disable_progress_bars()
        dataset = datasets.Dataset.from_dict({"text": [document.decode() for document in documents]})
        return {"MB/s": len(content) / 1e6 / _seconds(lambda out: _run_mlm(dataset, vocab, out))}

    trials.alternate("text", {"bertsmith": own, "datasets.map": peer}, arguments.repeats)
    trials.ratio("text", "datasets.map", "MB/s", 20)


def _run_mlm(dataset, vocab: Path, out: Path) -> None:
    """What transformers' examples/pytorch/language-modeling/run_mlm.py does to its data, without `line_by_line`."""
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab=str(vocab))

    def encode(examples: dict) -> dict:
        return tokenizer(examples["text"], return_special_tokens_mask=True)

    def group(examples: dict) -> dict:
        joined = {key: list(chain(*values)) for key, values in examples.items()}
        total = len(joined["input_ids"]) // ROW * ROW
        return {key: [values[i : i + ROW] for i in range(0, total, ROW)] for key, values in joined.items()}

    out.mkdir()
    settings = {"batched": True, "num_proc": WORKERS}
    encoded = dataset.map(encode, remove_columns=["text"], cache_file_name=str(out / "encoded.arrow"), **settings)
    encoded.map(group, cache_file_name=str(out / "grouped.arrow"), **settings)


def _recipe(folder: Path, layout: str, vocab: Path, **more) -> PrepareRecipe:
    return PrepareRecipe(corpus=str(folder), layout=layout, vocab=str(vocab), workers=WORKERS, **more)


def _documents(parts) -> list[bytes]:
    return [document for part in parts for document in part.documents(Counter())]


def _decompress(path: Path) -> int:
    return len(lzma.decompress(path.read_bytes()))


def _seconds(work) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started_at = time.perf_counter()
        work(Path(folder, "out"))
        return time.perf_counter() - started_at


if __name__ == "__main__":
    main()
