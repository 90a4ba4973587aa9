"""The part of a pre-trained model that fine-tuning starts from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from torch import nn

from bertsmith.errors import UserError
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.models import fingerprint, open_model

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class PretrainedEncoder(Network):
    """A pre-trained encoder with its tokenizer; of a head only what a new classification head can go on with."""

    tokenizer: Tokenizer

    def load_into(self, objective: Module) -> Module:
        """Return the objective with these weights where it has them: the encoder's all, and of a head what is like."""
        wanted = objective.state_dict()
        weights = {name: tensor for name, tensor in self.weights.items() if name in wanted}
        missing = objective.load_state_dict(weights, strict=False).missing_keys
        assert not self.weights or not any(name.startswith("encoder.") for name in missing), missing
        return objective

    def pooled_by(self, pooling: Literal["cls", "mean"]) -> "PretrainedEncoder":
        """Return the same, whose classes are read from each row's [CLS] or from its mean. Raises UserError where the
        encoder is a classic one, whose classification classes read [CLS]."""
        return replace(self, settings=self.settings.with_pooling(pooling))

    def fingerprint(self) -> str:
        """Return hex sha256 of names and values of the weights, and of what the tokenizer does."""
        return fingerprint(self.tokenizer, self.weights)


def open_pretrained_encoder(path: Path) -> PretrainedEncoder:
    """Return the encoder of the model in `path`; of two networks, the discriminator's. Raises UserError as
    `open_model`."""
    try:
        model = open_model(path)
    except UserError as error:
        raise UserError(f"model: {error}") from None
    return pretrained_encoder(model.network, model.tokenizer)


def pretrained_encoder(network: Network, tokenizer: Tokenizer) -> PretrainedEncoder:
    """Return what fine-tuning takes of a network."""
    weights = network.encoder_weights | network.pooler
    if network.head == "classification":
        weights |= {name: tensor for name, tensor in network.weights.items() if name.startswith("head.dense.")}
    return PretrainedEncoder(**vars(replace(network, head=None, weights=weights)), tokenizer=tokenizer)
