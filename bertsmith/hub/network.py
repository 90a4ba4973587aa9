"""A trained network as a model of its own, whoever trained it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import HeadName
from bertsmith.encoders.initialization import shapes_only
from bertsmith.hub.heads import HEADS


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network's weights, in our names, and its description."""

    name: str = ""
    """The part in a model of two, "discriminator" or "generator"; otherwise empty."""
    family: str
    """The family of Hugging Face's classes; a key of `registry.FAMILIES`."""
    settings: EncoderConfig
    vocab_size: int
    head: HeadName | None
    """The head in `weights`; None without one."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """float32; "encoder.…", and "head.…" where there is a head: all that the modules need, nothing else. Empty where
    only the description was read."""
    pooler: dict[str, Tensor] = field(default_factory=dict)
    """The pooler of a BERT folder without classes, "head.dense.…": a BertClassificationHead may start from it, as
    Hugging Face's does. Empty where the folder has no pooler, or `weights` has it."""
    is_energy_head: bool = False
    """Whether the logits of a replaced-token head are energies; see `ReplacedTokenModel`."""
    is_disentangled: bool = False
    """Whether it is a generator whose discriminator's token vectors were its own plus what that one learned."""
    labels: tuple[str, ...] = ()
    """Names of the classes or tags in the order of their ids; a regression has none, or one that is written."""
    problem_type: str | None = None
    """The `problem_type` of a classification head in config.json: one of `heads.PROBLEM_TYPES`."""
    trained_length: int | None = None
    """Longest row seen in pre-training, in tokens; None where it is not known."""
    finetuned_on: tuple[str, ...] = ()
    """The tasks that it was fine-tuned on, the last one last."""
    evaluation_settings: dict[str, Any] | None = None
    """The settings by which its run measured held-out text; "measured" in config.json."""
    folder: Path = Path()
    """The one that it was read from."""
    concluded: tuple[str, ...] = ()
    """Facts that its files lack and that were concluded from the tensors' names and shapes, a line each."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Names of further tensors in its files that are not read, sorted → their titles."""

    @property
    def encoder_weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.weights.items() if name.startswith("encoder.")}

    @property
    def decodes_masks(self) -> bool:
        """Whether it fills masks by an enhanced mask decoder, which no Hugging Face class runs."""
        return self.head == "masked_tokens" and self.settings.has_mask_decoder

    @property
    def num_labels(self) -> int | None:
        """Outputs of a classification or tagging head; None of all others."""
        return len(self.weights["head.output.bias"]) if HEADS[self.head].has_labels else None

    def build(self) -> Any:
        """Return our module with its weights, in evaluation mode."""
        module = self.outline(self.num_labels)
        weights = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in self.weights.items()}
        module.load_state_dict(weights, assign=True)
        return module.eval()

    def build_encoder(self) -> Encoder:
        """Return the encoder alone with its weights, in evaluation mode."""
        with shapes_only():
            encoder = Encoder(self.settings, self.vocab_size)
        weights = {name.removeprefix("encoder."): tensor for name, tensor in self.encoder_weights.items()}
        encoder.load_state_dict(
            {name: tensor.detach().to("cpu", torch.float32) for name, tensor in weights.items()}, assign=True
        )
        return encoder.eval()

    def outline(self, num_labels: int | None) -> nn.Module:
        """Return our module with shapes and no weights: a MaskedTokenModel, a ReplacedTokenModel, or "encoder" with the
        "head" that fine-tuning makes, if any, of `num_labels` outputs where their number is not fixed."""
        with shapes_only():
            return HEADS[self.head].build(self, num_labels or 0)
