"""How an objective's measures of held-out text are drawn, and the objective that measures a folder's networks."""

from collections.abc import Sequence
from typing import Any

from bertsmith.config.fields import setting, settings
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.objectives.masking import MaskingSettings
from bertsmith.objectives.mlm import MaskedTokensSettings
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.objectives.rtd import ReplacedTokensSettings


@settings
class MaskMeasuring:
    """What decides which tokens are masked and replaced."""

    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")
    temperature: float = setting(1.0, "of a generator: divides the scores before a token is drawn", gt=0)
    disallow_correct: bool = setting(False, "of a generator: never draw the original token")

    def describe_masks(self) -> str:
        """Return in words how many tokens are predicted, and what stands in their place."""
        share = self.masking.final_prob or self.masking.prob
        return (
            f"{share:.0%} of them predicted ({self.masking.mask_token_prob:.0%} as [MASK], "
            f"{self.masking.random_token_prob:.0%} at random)"
        )

    def objective_of(self, networks: Sequence[Any]) -> PretrainingSettings:
        """Return the objective that these networks of a folder were trained with, as far as their heads tell.

        Raises:
            ValueError: they have none to be measured with.
        """
        heads = [network.head for network in networks]
        if heads == ["masked_tokens"]:
            return MaskedTokensSettings(masking=self.masking)
        if heads == ["replaced_tokens", "masked_tokens"] and not networks[0].is_energy_head:
            generator = GeneratorSettings(
                sharing="nothing", temperature=self.temperature, disallow_correct=self.disallow_correct
            )
            return ReplacedTokensSettings(masking=self.masking, generator=generator)
        if networks[0].is_energy_head:
            raise ValueError(
                "an exported Electric, which has no held-out measures; name the run that it is of, or blimp=DIR"
            )
        if heads[0] == "replaced_tokens":
            raise ValueError(
                "a discriminator without the generator that it was trained beside; name the run, or a folder that "
                "holds the folders discriminator and generator"
            )
        raise ValueError("no masked-token head, so no loss; pre-train it, or name the folder before fine-tuning")
