"""The program in the test's own process, with plugins that are forgotten after the test."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.main import get_command

from bertsmith.cli.app import app
from bertsmith.config import plugins
from bertsmith.config.registry import Registry
from bertsmith.encoders.registry import ENCODERS
from bertsmith.errors import UserError
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.registry import TASKS
from bertsmith.text.corpora import LAYOUTS
from bertsmith.text.engines.registry import ENGINES
from bertsmith.training.optimizers.registry import OPTIMIZERS
from bertsmith.training.schedules import SCHEDULES
from bertsmith.training.trackers.registry import TRACKERS

REGISTRIES = (ENCODERS, OBJECTIVES, OPTIMIZERS, SCHEDULES, TRACKERS, TASKS, METRICS, LAYOUTS, ENGINES)


def forget_plugins() -> None:
    """Be as a process is that has loaded none."""
    for registry, entries in zip(REGISTRIES, _ENTRIES, strict=True):
        registry.clear()
        registry.update(entries)
    Registry.num_added += 1
    plugins._loaded.clear()
    for name in [name for name in sys.modules if name.startswith("bertsmith_plugin_")]:
        del sys.modules[name]


_ENTRIES = [dict(registry) for registry in REGISTRIES]


@contextmanager
def own_process() -> Iterator[None]:
    """Forget plugins before and after."""
    forget_plugins()
    try:
        yield
    finally:
        forget_plugins()


def run(*arguments: object) -> None:
    """Run a command as a new process would."""
    with own_process():
        get_command(app)(args=[str(argument) for argument in arguments], prog_name="bertsmith", standalone_mode=False)


def refused(*arguments: object) -> str:
    """Run a command that ends with a user's mistake; return what is said."""
    with pytest.raises(UserError) as error:
        run(*arguments)
    return str(error.value)
