"""The objectives there are, by the `kind` of their settings."""

from bertsmith.objectives.electric import ElectricSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings

ObjectiveSettings = MaskedTokensSettings | ReplacedTokensSettings | ElectricSettings
"""To add one, write its settings as `bertsmith.objectives.objective.PretrainingSettings` asks, and name them here."""
