"""Weights & Biases. Its own variables say where to: WANDB_MODE=offline, WANDB_DIR, WANDB_PROJECT, WANDB_API_KEY."""

import os
from collections.abc import Mapping

from bertsmith.training.trackers.tracker import TrackedRun, Tracker


class Wandb(Tracker):
    """A tracker with a run of W&B."""

    def __init__(self, run: TrackedRun):
        import wandb

        project = os.environ.get("WANDB_PROJECT", "bertsmith")
        self._run = wandb.init(project=project, name=run.name, id=run.id, resume="allow", config=dict(run.config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
