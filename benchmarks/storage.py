"""What `prepare`, and reading rows, lose to an S3 server on the loopback against the disk; the bytes are compared.

    python -m benchmarks.storage --out storage.json

`archives`: the archives inside the shared corpus, `--copies` times over (eight times, 580 MB of text), read from a
bucket and written to it, against disk to disk, in turns; in MB of document text a second. The server (moto, one
process) is on the same cores. `jsonl`, `parquet`: the same documents as one file. `rows`: batches of 64 rows of 128
tokens of what `archives` has prepared, over one epoch, from a cache that holds nothing yet, against the same from the
disk.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.prepare_workers import WRITERS
from benchmarks.trials import Trials, parser_of, shared_data
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.segments import RowSettings
from bertsmith.text.shards import open_data
from bertsmith.training.batches import RowStream

LEAST = 0.7
BUCKET = "benchmark"


def main() -> None:
    parser = parser_of(__doc__, repeats=5)
    parser.add_argument("--copies", type=int, default=8, help="of the corpus, 72 MB of text each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="processes")
    parser.add_argument("--only", choices=WRITERS, help="`archives` with `rows`")
    arguments = parser.parse_args()
    trials, chosen = Trials(arguments.out), [arguments.only] if arguments.only else [*WRITERS]
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)):
        os.environ["BERTSMITH_CACHE"] = str(Path(folder, "cache"))
        for what in chosen:
            make = rate(trials, what, Path(folder), arguments)
            if what == "archives":
                rows(trials, Path(folder), make, arguments)


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Start a server with an empty bucket in a process of its own, where this one and its workers find it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }  # fmt: skip
    with open(folder / "server.log", "wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(address, server)
            files().mkdir(BUCKET)
            yield
        finally:
            server.terminate()
            server.wait()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    raise SystemExit("the S3 server does not start; pip install 'bertsmith[dev]'")


def files():
    import s3fs

    return s3fs.S3FileSystem()


Contestants = dict[str, Callable[[], dict[str, float]]]


def rate(trials: Trials, what: str, folder: Path, arguments: argparse.Namespace) -> Contestants:
    """Time preparing, and return what prepares."""
    layout, write = WRITERS[what]
    num_bytes = write(folder / what, arguments.copies)
    files().put(f"{folder / what}/", f"{BUCKET}/{what}/", recursive=True)
    hashes = {}

    def measure(corpus: str, out: str | Path) -> dict[str, float]:
        recipe = PrepareRecipe(
            corpus=corpus, layout=layout, vocab=str(shared_data() / "vocab.txt"), workers=arguments.workers,
            engine=arguments.engine,
        )  # fmt: skip
        started_at = time.perf_counter()
        data = prepare(recipe, out)
        seconds = time.perf_counter() - started_at
        hashes[str(out)] = data.hash
        return {"MB/s": num_bytes / 1e6 / seconds}

    def remote() -> dict[str, float]:
        system, name = files(), f"{BUCKET}/{what}-data"
        if system.exists(name):
            system.rm(name, recursive=True)
        return measure(f"s3://{BUCKET}/{what}", f"s3://{name}")

    def local() -> dict[str, float]:
        out = folder / f"{what}-data"
        shutil.rmtree(out, ignore_errors=True)
        return measure(str(folder / what), out)

    contestants = {"bertsmith": remote, "the disk": local}
    trials.alternate(what, contestants, arguments.repeats)
    trials.ratio(what, "the disk", "MB/s", LEAST)
    if len(hashes) == 2:
        same = len(set(hashes.values())) == 1
        print(f"{what}: {'the same bytes' if same else 'OTHER BYTES'}")
        trials.note("same bytes", what, same)
    return contestants


def rows(trials: Trials, folder: Path, make: Contestants, arguments: argparse.Namespace) -> None:
    """Time an epoch's rows of what `archives` has prepared, or in an earlier call of this program had."""
    if not (folder / "archives-data").exists():
        for prepared in make.values():
            prepared()

    def measure(data: str | Path) -> dict[str, float]:
        shutil.rmtree(folder / "cache" / "shards", ignore_errors=True)
        started_at, number = time.perf_counter(), 0
        stream = RowStream(open_data(data, check=False), "train", RowSettings(length=128), seed=0)
        for _, (epoch, _, _) in stream.batches(64):
            if epoch:
                break
            number += 64
        return {"rows/s": number / (time.perf_counter() - started_at)}

    contestants = {
        "bertsmith": lambda: measure(f"s3://{BUCKET}/archives-data"),
        "the disk": lambda: measure(folder / "archives-data"),
    }
    trials.alternate("rows", contestants, arguments.repeats)
    trials.ratio("rows", "the disk", "rows/s", LEAST)


if __name__ == "__main__":
    sys.exit(main())
