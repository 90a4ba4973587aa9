"""TensorBoard: event files in the run's folder."""

import os
from collections.abc import Mapping
from typing import ClassVar

from bertsmith.storage.files import own_folder
from bertsmith.training.trackers.tracker import TrackedRun, Tracker


class TensorBoard(Tracker):
    """A tracker that writes RUN/tensorboard/."""

    forgets: ClassVar[bool] = True

    def __init__(self, run: TrackedRun):
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        folder = own_folder(run.folder / "tensorboard")
        before = set(os.listdir(folder))
        self._writer = SummaryWriter(folder, purge_step=run.step + 1)
        self.files = sorted(set(os.listdir(folder)) - before)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()
