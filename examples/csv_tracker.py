"""A tracker: all measures of a run in one CSV, a measure a line, which a spreadsheet opens.

bertsmith pretrain bert-tiny --plugin examples/csv_tracker.py 'log=["csv"]' data=data/text --out runs/tiny
"""

import csv
from collections.abc import Mapping

from bertsmith.training.trackers.registry import TRACKERS
from bertsmith.training.trackers.tracker import TrackedRun, Tracker


class CsvTracker(Tracker):
    """Appends to measures.csv beside the run's folder; a continued run is not given the same step again."""

    def __init__(self, run: TrackedRun):
        path = run.folder.with_name(f"{run.name}-measures.csv")
        is_new = not path.exists()
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if is_new:
            self._writer.writerow(("run", "step", "measure", "value"))
        self._run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._writer.writerows((self._run.id, step, name, value) for name, value in values.items())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


TRACKERS.add("csv", CsvTracker)
