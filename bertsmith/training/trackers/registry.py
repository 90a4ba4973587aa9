"""The trackers that there are, by name. A further one is a file with its class, and its name here."""

from bertsmith.config.registry import Registry
from bertsmith.training.trackers.mlflow import Mlflow
from bertsmith.training.trackers.tensorboard import TensorBoard
from bertsmith.training.trackers.tracker import Tracker
from bertsmith.training.trackers.trackio import Trackio
from bertsmith.training.trackers.wandb import Wandb

TRACKERS: Registry[type[Tracker]] = Registry(
    "tracker", {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio}
)
