"""What fine-tuning takes from a pre-trained model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from torch import Tensor, nn

from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.models import fingerprint, open_model

Objective = TypeVar("Objective", bound=nn.Module)


@dataclass(frozen=True)
class PretrainedEncoder:
    """A pre-trained encoder with its tokenizer."""

    family: str
    """Whose heads suit it."""
    settings: EncoderConfig
    vocab_size: int
    weights: dict[str, Tensor]
    """"encoder.…", and "head.dense.…" where the folder has a layer that a classification head can go on with."""
    tokenizer: Tokenizer
    trained_length: int | None = None
    """Longest row seen in pre-training, in tokens; None where nobody says."""
    finetuned_on: tuple[str, ...] = ()
    """The tasks that it was fine-tuned on already, the last one last."""

    def load_into(self, objective: Objective) -> Objective:
        """The objective itself, with these weights where it has them: the encoder's all, and of a head what is like."""
        wanted = objective.state_dict()
        weights = {name: tensor for name, tensor in self.weights.items() if name in wanted}
        missing = objective.load_state_dict(weights, strict=False).missing_keys
        assert not self.weights or not any(name.startswith("encoder.") for name in missing), missing
        return objective

    def pooled_by(self, pooling: Literal["cls", "mean"]) -> "PretrainedEncoder":
        """The same, whose classes are read from each row's [CLS] or from its mean.

        Raises:
            UserError: the encoder is a classic one, whose classification classes read [CLS].
        """
        return replace(self, settings=self.settings.with_pooling(pooling))

    def fingerprint(self) -> str:
        """Hex sha256 of names and values of the weights, and of what the tokenizer does."""
        return fingerprint(self.tokenizer, self.weights)


def open_pretrained_encoder(path: Path) -> PretrainedEncoder:
    """The encoder of the model in `path`; of two networks, the discriminator's.

    Raises:
        UserError: as `open_model`.
    """
    try:
        model = open_model(path)
    except UserError as error:
        raise UserError(f"model: {error}") from None
    network = model.network
    weights = network.encoder_weights | network.pooler
    if network.head == "classification":
        weights |= {name: tensor for name, tensor in network.weights.items() if name.startswith("head.dense.")}
    return PretrainedEncoder(
        network.family,
        network.settings,
        model.vocab_size,
        weights,
        model.tokenizer,
        network.trained_length,
        network.finetuned_on,
    )
