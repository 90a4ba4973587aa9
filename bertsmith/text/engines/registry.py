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
