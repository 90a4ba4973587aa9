"""How fast BPE and Unigram vocabularies are trained, and text encoded with them, against `tokenizers` itself.

    python -m benchmarks.tokenizing [--megabytes 20] [--size 32000] [--encode-only] [--out tokenizing.json]

Encoding: the lines of web text by two processes, as `prepare` has workers, against `encode_batch_fast` of `tokenizers`,
whose threads have the same two cores. The ids of every tenth line are compared first. Training: 32,000 tokens of the
same text.
"""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from benchmarks.shared_text import CORPORA, texts_of
from benchmarks.trials import Trials, parser_of, shared_data
from bertsmith.tokenizers.bpe import train_bpe
from bertsmith.tokenizers.families import SPECIAL_FAMILIES, UnicodeForm
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.unigram import train_unigram

WORKERS, LINES_AT_ONCE = 2, 2000
TARGETS = {"bpe": 10, "unigram": 5}
"""Kind → rate of encoding over that of `tokenizers`."""
FORMS = {"bpe": UnicodeForm("none", False, False), "unigram": UnicodeForm("nfkc", False, False)}
TRAIN = {"bpe": train_bpe, "unigram": train_unigram}

_loaded: dict[str, Any] = {}


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--size", type=int, default=32_000, help="tokens of the vocabularies")
    parser.add_argument("--encode-only", action="store_true", help="train each once, without a peer")
    arguments = parser.parse_args()
    trials = Trials(arguments.out)
    texts = list(_texts(arguments.megabytes * 1_000_000))
    lines = [line for text in texts for line in text.split("\n") if line]
    num_bytes = sum(len(line.encode()) for line in lines)
    for kind in TRAIN:
        if not arguments.encode_only:
            train = {"bertsmith": _train_ours, "tokenizers": _train_theirs}
            timed = {who: partial(_timed, partial(work, kind, texts, arguments.size)) for who, work in train.items()}
            trials.alternate(f"train {kind}", timed, min(3, arguments.repeats))
            trials.ratio(f"train {kind}", "tokenizers", "seconds", 2, least=False)
        with TemporaryDirectory() as folder:
            tokenizer = _train_ours(kind, texts, arguments.size)
            tokenizer.save(Path(folder))
            (Path(folder) / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
            expected = [tokenizer.fast.encode(line, add_special_tokens=False).ids for line in lines[::10]]
            assert tokenizer.encode_each(lines[::10]) == expected, "other ids"
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(WORKERS, context, _load, (folder,)) as pool:
                contestants = {"bertsmith": partial(_encode_ours, pool, num_bytes),
                               "tokenizers": partial(_encode_theirs, tokenizer.fast, lines, num_bytes)}  # fmt: skip
                trials.alternate(f"encode {kind}", contestants, arguments.repeats)
        trials.ratio(f"encode {kind}", "tokenizers", "MB/s", TARGETS[kind])


def _texts(num_bytes: int) -> Iterator[str]:
    path = shared_data() / CORPORA["openwebtext"]
    for text in texts_of(path, "openwebtext"):
        yield text
        num_bytes -= len(text.encode())
        if num_bytes <= 0:
            return


def _timed(work: Callable[[], object]) -> dict[str, float]:
    started_at = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - started_at}


def _train_ours(kind: str, texts: list[str], size: int) -> Tokenizer:
    return TRAIN[kind](texts, size, SPECIAL_FAMILIES["roberta"], FORMS[kind])


def _train_theirs(kind: str, texts: list[str], size: int) -> None:
    """Train as the library's documentation does."""
    specials = list(SPECIAL_FAMILIES["roberta"].tokens)
    lines = (line for text in texts for line in text.splitlines())
    if kind == "bpe":
        fast = tokenizers.Tokenizer(models.BPE())
        fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
        )
    else:
        fast = tokenizers.Tokenizer(models.Unigram())
        fast.normalizer, fast.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False
        )
    fast.train_from_iterator(lines, trainer)


def _load(folder: str) -> None:
    """Prepare a worker."""
    _loaded["tokenizer"] = Tokenizer.load(folder)
    _loaded["lines"] = (Path(folder) / "lines.txt").read_text(encoding="utf-8").split("\n")


def _encode_share(number: int) -> tuple[float, int]:
    """Encode every second batch of lines in a worker whose tokenizer is loaded and has seen no text, and return
    seconds and tokens."""
    tokenizer, lines = pickle.loads(pickle.dumps(_loaded["tokenizer"])), _loaded["lines"]
    tokenizer.encode_batch([])  # loads the library that encodes: `tokenizers` is loaded, and has seen these lines
    starts = range(number * LINES_AT_ONCE, len(lines), WORKERS * LINES_AT_ONCE)
    started_at = time.perf_counter()
    num_tokens = sum(len(tokenizer.encode_batch(lines[start : start + LINES_AT_ONCE])[0]) for start in starts)
    return time.perf_counter() - started_at, num_tokens


def _encode_ours(pool: ProcessPoolExecutor, num_bytes: int) -> dict[str, float]:
    seconds, num_tokens = zip(*pool.map(_encode_share, range(WORKERS)), strict=True)
    return {"MB/s": num_bytes / 1e6 / max(seconds), "tokens": sum(num_tokens)}


def _encode_theirs(fast: tokenizers.Tokenizer, lines: list[str], num_bytes: int) -> dict[str, float]:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    started_at = time.perf_counter()
    num_tokens = 0
    for start in range(0, len(lines), LINES_AT_ONCE):
        batch = fast.encode_batch_fast(lines[start : start + LINES_AT_ONCE], add_special_tokens=False)
        num_tokens += sum(len(encoded.ids) for encoded in batch)
    seconds = time.perf_counter() - started_at
    return {"MB/s": num_bytes / 1e6 / seconds, "tokens": num_tokens}


if __name__ == "__main__":
    main()
