"""What the journal and the manifest of `prepare` take for a million parts of a corpus, whose text is not there.

    python -m benchmarks.journal_units --out journal_units.json --units 1000000

A unit is a part of 4 MB of text, as of OpenWebText: 1 M tokens, of which 5,000 are held out. `write` notes down a line
for each and closes the shards that they fill, `go on` opens the journal again as after a kill, and `manifest` writes
and opens what the finished folder says. In CPU seconds of one process, and the most memory that it held by then, of `go
on` and `manifest` with the journal before it. `hand out` is what tasks cost the command that two processes do, for
10,000 of them that do nothing.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.trials import Trials, parser_of
from bertsmith.memory import peak_bytes
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.text.engines.engine import results_in_order
from bertsmith.text.engines.processes import ProcessEngine
from bertsmith.text.journal import Journal
from bertsmith.text.shards import ARRAYS, shard_file

IDENTITY = {"layout": "openwebtext"}
LENGTHS = {"train": (995_000, 45_000, 900), "heldout": (5_000, 225, 5)}
COUNTS = Counter(documents=905, lines=45_225, tokens=1_000_000, bytes=4_400_000)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--units", type=int, default=1_000_000)
    arguments = parser.parse_args()
    trials = Trials(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        simulate(trials, Path(folder), arguments.units)
    trials.alternate("tasks", {"hand out": lambda: hand_out(10_000)}, 1)


def simulate(trials: Trials, folder: Path, units: int) -> None:
    journal = Journal(folder, IDENTITY, np.dtype(np.uint16))

    def write() -> float:
        for _ in range(units):
            journal.commit(LENGTHS, COUNTS, Counter())
            close_full(journal)
        for cutter in journal.done.cutters.values():
            cutter.finish()
        close_full(journal)
        journal.close()
        return journal.path.stat().st_size

    def go_on() -> float:
        again = Journal(folder, IDENTITY, np.dtype(np.uint16))
        again.close()
        assert again.done.parts == units and again.done.files == journal.done.files
        return again.path.stat().st_size

    def manifest() -> float:
        tokenizer = {"fingerprint": "0" * 16, "vocab_size": 30_522}
        write_manifest(folder, "data", {"identity": IDENTITY, "tokenizer": tokenizer, **journal.done.facts()})
        assert len(read_manifest(folder, "data")["files"]) == len(journal.done.files)
        return (folder / "manifest.json").stat().st_size

    for who, act in (("write", write), ("go on", go_on), ("manifest", manifest)):
        trials.add(f"{units:,} units", who, 0, measured(act))


def hand_out(tasks: int) -> dict[str, float]:
    """Give out tasks that do nothing, and take their results."""
    with ProcessEngine(2).start(None) as workers:
        for _ in results_in_order(workers, nothing, ((number,) for number in range(100))):
            pass  # the workers have started
        started_at = time.process_time()
        for _ in results_in_order(workers, nothing, ((number,) for number in range(tasks))):
            pass
        return {"seconds": time.process_time() - started_at, "tasks": tasks}


def nothing(shared: None, number: int) -> int:
    return number


def close_full(journal: Journal) -> None:
    for split, cutter in journal.done.cutters.items():
        while cutter.full:
            names = [shard_file(split, len(journal.done.shards[split]), array) for array in ARRAYS]
            journal.close_shard(split, cutter.full[0], dict.fromkeys(names, "0" * 64))


def measured(act: Callable[[], float]) -> dict[str, float]:
    started_at = time.process_time()
    size = act()
    return {"seconds": time.process_time() - started_at, "MB on disk": size / 1e6, "peak MB": peak_bytes() / 1e6}


if __name__ == "__main__":
    main()
