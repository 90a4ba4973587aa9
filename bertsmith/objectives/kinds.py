"""The objectives there are, by the `kind` of their settings."""

from bertsmith.encoders.config import EncoderConfig
from bertsmith.objectives.electric import ElectricSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings

ObjectiveSettings = MaskedTokensSettings | ReplacedTokensSettings | ElectricSettings


def check_fits(settings: ObjectiveSettings, encoder: EncoderConfig, compat: bool = False) -> None:
    """Raises ValueError where the objective cannot be built on this encoder, or would learn what is not so; the latter
    is let pass with `compat`, as the reference does."""
    if settings.generator is None:
        return
    if settings.energies and not compat:
        settings.check_noise()
    settings.generator.encoder(encoder)
    if settings.generator.kind != "two_towers":
        return
    if not encoder.takes_windows:
        raise ValueError("objective.generator.kind = 'two_towers': needs model.kind = 'classic'")
    if settings.generator.sharing == "everything":
        raise ValueError("objective.generator.sharing = 'everything': two towers are no discriminator; share less")
