"""trackio, on this machine. Its own variables say where to: TRACKIO_DIR; TRACKIO_PROJECT names the project."""

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout

from bertsmith.training.trackers.tracker import TrackedRun, Tracker


class Trackio(Tracker):
    """A tracker with a run of trackio, which knows its runs by their names."""

    def __init__(self, run: TrackedRun):
        with redirect_stdout(sys.stderr):  # standard output is for results
            import trackio

            project = os.environ.get("TRACKIO_PROJECT", "bertsmith")
            self._run = trackio.init(project=project, name=run.id, resume="allow", config=dict(run.config), embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._run.finish()
