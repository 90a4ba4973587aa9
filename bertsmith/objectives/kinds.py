"""The objectives there are, by the `kind` of their settings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from bertsmith.config.registry import Kinds
from bertsmith.objectives.electric import ElectricSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings

OBJECTIVES = Kinds("objective", (MaskedTokensSettings, ReplacedTokensSettings, ElectricSettings))
"""To add one, write its settings as `bertsmith.objectives.objective.PretrainingSettings` asks, and name them here."""

ObjectiveSettings = Annotated[PretrainingSettings, OBJECTIVES]
"""The type of a recipe's table `objective`."""


def exported_objective(networks: Sequence[Any], measuring: Mapping[str, Any]) -> PretrainingSettings:
    """Return the objective of a folder's networks; see `PretrainingSettings.from_networks`.

    Raises:
        ValueError: no objective measures them.
        UserError: a setting cannot be.
    """
    for objective in OBJECTIVES.values():
        settings: PretrainingSettings | None = objective.from_networks(networks, measuring)  # type: ignore[attr-defined]
        if settings is not None:
            return settings
    raise ValueError("no masked-token head, so no loss; pre-train it, or name the folder before fine-tuning")
