"""The engines that there are, by name. A further one is a file with its class, and its name here."""

from collections.abc import Callable
from typing import Any

from bertsmith.config.registry import Registry
from bertsmith.text.engines.engine import Engine
from bertsmith.text.engines.processes import ProcessEngine

ENGINES: Registry[Callable[[int | None, Any], Engine]] = Registry("engine", {"processes": ProcessEngine})

ENGINE_DESCRIPTION = "where the work is done; processes: on this machine"
WORKERS_DESCRIPTION = "processes; by default as many as there are cores"
"""Of the settings that all who use engines have."""
