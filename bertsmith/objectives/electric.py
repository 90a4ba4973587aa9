"""Electric: an energy for each token in its context, learnt by telling it from the generator's noise.

What the discriminator says of a token is its energy, −log of an unnormalised probability given all other tokens. Their
negative sum over a text is a pseudo-log-likelihood in one pass. Source: Electric, arXiv 2012.08561.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import quoted
from bertsmith.objectives.generator import GeneratorOutput, GeneratorSettings
from bertsmith.objectives.masking import MaskingVocabulary, PredictionTargets
from bertsmith.objectives.objective import PretrainingSettings
from bertsmith.objectives.rtd import ReplacedTokens, ReplacedTokensSettings


@settings
class ElectricSettings(ReplacedTokensSettings):
    """The Electric objective."""

    kind: Literal["electric"] = setting(  # type: ignore[assignment]
        "electric", "electric: tell tokens from noise whose probability is known"
    )
    generator: GeneratorSettings = setting(GeneratorSettings(kind="two_towers"), "what replaces them")
    energies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.masking.final_prob is not None:
            raise ValueError("masking.final_prob: what Electric learns depends on the share of noise; leave it out")
        if self.generator.kind != "two_towers":
            raise ValueError(
                f"generator.kind = {quoted(self.generator.kind, 60)}: Electric needs the noise's probability at "
                f"every place; "
                f"use two_towers"
            )

    @classmethod
    def fit_to(
        cls, given: Mapping[str, Any], config: EncoderConfig, networks: Sequence[Any], trained: Any
    ) -> dict[str, dict[str, Any]]:
        """See `PretrainingSettings`: no network of a folder is two towers."""
        return {}

    @classmethod
    def from_networks(cls, networks: Sequence[Any], measuring: Mapping[str, Any]) -> PretrainingSettings | None:
        """See `PretrainingSettings`."""
        if not networks[0].is_energy_head:
            return None
        raise ValueError(
            "an exported Electric, which has no held-out measures; name the run that it is of, or blimp=DIR"
        )

    def build(self, config: EncoderConfig, vocabulary: MaskingVocabulary) -> "Electric":
        """See `ReplacedTokensSettings.build`."""
        return Electric(config, vocabulary, self)

    def check_fits(self, config: EncoderConfig, compat: bool = False) -> None:
        """See `PretrainingSettings`."""
        if not compat:
            self._check_noise()
        super().check_fits(config, compat)

    def _check_noise(self) -> None:
        """Raises ValueError where tokens are drawn with other probabilities than the generator's own, which are what
        is taken for the noise's: the energies would be off by the difference."""
        for name, value, plain in (
            ("temperature", self.generator.temperature, 1.0),
            ("disallow_correct", self.generator.disallow_correct, False),
        ):
            if value != plain:
                raise ValueError(
                    f"objective.generator.{name} = {quoted(value, 60)}: Electric must know how likely its noise is; "
                    f"leave it out "
                    f"(compat=true has the reference's wrong energies)"
                )


class Electric(ReplacedTokens):
    """Replaced-token detection whose answer is known to depend on the noise: `logits` are energies.

    Source: arXiv 2012.08561, section 2.2; google-research/electra, run_pretraining.py, _get_discriminator_output.
    """

    def logits_and_labels(
        self, tokens: Tokens, masked: PredictionTargets, replaced: Tensor, generated: GeneratorOutput
    ) -> tuple[Tensor, Tensor]:
        """Return logits and labels of whether a token is noise: every masked position is, also where the generator
        sampled the original token."""
        prob = self.settings.masking.prob
        assert generated.log_prob is not None, "two towers know it"
        with torch.no_grad():
            noise = generated.log_prob(tokens.ids) + math.log(prob / (1 - prob))
        times = torch.zeros_like(replaced).scatter_add(0, masked.positions, masked.weights)
        return self.logits(tokens).float() + noise, (times > 0).float()
