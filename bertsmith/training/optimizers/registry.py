"""The optimizers that there are, by their `kind`. A further one is a file with its settings, and its name here."""

from bertsmith.config.registry import Kinds
from bertsmith.training.optimizers.adafactor import AdafactorSettings
from bertsmith.training.optimizers.adamw import AdamWSettings
from bertsmith.training.optimizers.muon import MuonSettings

OPTIMIZERS = Kinds("optimizer", (AdamWSettings, AdafactorSettings, MuonSettings))
