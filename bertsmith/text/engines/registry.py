"""The engines that there are, by name. A further one is a file with its class, and its name here."""

from collections.abc import Callable
from typing import Any

from bertsmith.config.registry import Registry
from bertsmith.text.engines.engine import Engine
from bertsmith.text.engines.processes import ProcessEngine
from bertsmith.text.engines.ray import RayEngine

ENGINES: Registry[Callable[[int | None, Any], Engine]] = Registry(
    "engine", {"processes": ProcessEngine, "ray": RayEngine}
)

ENGINE_DESCRIPTION = "where the work is done; processes: on this machine; ray: on a Ray cluster (docs/scale.md)"
WORKERS_DESCRIPTION = "processes; by default as many as there are cores"
RAY_ADDRESS_DESCRIPTION = "the cluster to join: auto, or HOST:PORT of its head node; by default one on this machine"
"""Of the settings that all who use engines have."""
