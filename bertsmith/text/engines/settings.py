"""The settings of all who use an engine."""

from typing import Annotated

from bertsmith.config.fields import setting, settings
from bertsmith.text.engines.engine import Engine
from bertsmith.text.engines.registry import ENGINES


@settings
class EngineSettings:
    """Where work is done, and by how many."""

    engine: Annotated[str, ENGINES] = setting(
        "processes", "where the work is done; processes: on this machine; ray: on a Ray cluster (docs/scale.md)",
        identity=False,
    )  # fmt: skip
    workers: int | None = setting(None, "processes; by default as many as there are cores", ge=1, identity=False)
    ray_address: str | None = setting(
        None, "the cluster to join: auto, or HOST:PORT of its head node; by default one on this machine",
        identity=False, url=True, only=("engine = ray",),
    )  # fmt: skip

    @property
    def tags(self) -> set[str]:
        """What its settings apply to."""
        return {f"engine = {self.engine}"}

    def make_engine(self) -> Engine:
        """Return the engine that is chosen."""
        return ENGINES[self.engine](self.workers, self)
