"""The objectives there are, by the `kind` of their settings."""

from typing import Annotated

from bertsmith.config.registry import Kinds
from bertsmith.objectives.electric import ElectricSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings

OBJECTIVES = Kinds("objective", (MaskedTokensSettings, ReplacedTokensSettings, ElectricSettings))
"""To add one, write its settings as `bertsmith.objectives.objective.PretrainingSettings` asks, and name them here."""

ObjectiveSettings = Annotated[PretrainingSettings, OBJECTIVES]
"""What a recipe's table `objective` may be."""
