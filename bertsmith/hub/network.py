"""A trained network as a model of its own, whoever trained it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.hub.names import Head


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network, in our names."""

    name: str = ""
    """Of a model of two, "discriminator" or "generator"."""
    family: str
    """Whose classes it is of."""
    settings: EncoderConfig
    head: Head | None
    """Which of our heads is in `weights`."""
    weights: dict[str, Tensor]
    """float32; "encoder.…", and "head.…" where there is a head: all that the modules need, nothing else."""
    pooler: dict[str, Tensor] = field(default_factory=dict)
    """Of a BERT folder without classes, "head.dense.…": what a BertClassificationHead may start from, as Hugging
    Face's does. Empty where the folder has no pooler, or `weights` has it."""
    is_energy_head: bool = False
    """What the logits of a replaced-token head are; see `ReplacedTokenModel`."""
    labels: tuple[str, ...] = ()
    """Of a classification or tagging head; empty where it gives a number, or where there is no such head."""
    multi_label: bool = False
    """Whether a text may have any number of these."""
    dropped: tuple[str, ...] = ()
    """Hugging Face's names of the tensors that lay beside the weights and have no place here, sorted."""

    @property
    def encoder_weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.weights.items() if name.startswith("encoder.")}


@dataclass(frozen=True, kw_only=True)
class Imported(Network):
    """A network out of somebody's files, with what these say of it."""

    vocab_size: int
    folder: Path
    """Where all of it lay, and the tokenizer's files."""
    num_labels: int | None = None
    """Classes of a classification head, tags of a tagging one."""
    trained_length: int | None = None
    """Longest row seen in pre-training, in tokens, where config.json says so."""
    finetuned_on: tuple[str, ...] = ()
    """The tasks that it was fine-tuned on, the last one last, where config.json says so."""
    measured: dict[str, Any] | None = None
    """How its run measured held-out text, where config.json says so."""
    concluded: tuple[str, ...] = ()
    """What its files do not say and was concluded from the tensors' names and shapes, a line each."""
    dropped_kinds: Mapping[str, str] = field(default_factory=dict)
    """What each of `dropped` is, where a reader knows it better than `registry.kind_of_dropped`."""
