"""The weights of `ReplacedTokens` ↔ those of a discriminator and a generator as models of their own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bertsmith.objectives.generator import GeneratorSettings

_TABLE = "encoder.embeddings.token.weight"

_PREFIXES = {"encoder.embeddings.": "generator.embeddings.", "encoder.": "generator.trunk.", "head.": "generator.head."}
"""Where the parts of a generator of its own are among the weights of `ReplacedTokens`; the first that fits."""

_SHARED = {"embeddings": ("encoder.embeddings.",), "everything": ("encoder.",)}
"""By `sharing`: what a generator has only once with the discriminator."""


def split_discriminator(weights: Mapping[str, Tensor], settings: GeneratorSettings) -> dict[str, Tensor]:
    """Return "encoder.…" and "head.…" out of the weights of `ReplacedTokens`, as the discriminator's own model has
    them."""
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("generator.")}
    if settings.disentangles:
        own[_TABLE] = own[_TABLE] + weights["generator.embeddings.token.weight"]
    return own


def split_generator(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return "encoder.…" and "head.…" of the generator as a masked-token model; {} for a uniform generator and for two
    towers."""
    if any(name.startswith("generator.left_to_right.") for name in weights):
        return {}
    own = {
        name.replace(prefix, own_prefix, 1): tensor
        for name, tensor in weights.items()
        for own_prefix, prefix in _PREFIXES.items()
        if name.startswith(prefix)
    }
    if not own:
        return {}
    shared = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    if any(name.startswith("generator.trunk.") for name in weights):  # the discriminator lends its embeddings only
        shared = {name: tensor for name, tensor in shared.items() if name.startswith("encoder.embeddings.")}
    return shared | own


def join_networks(
    discriminator: Mapping[str, Tensor], generator: Mapping[str, Tensor], settings: GeneratorSettings
) -> dict[str, Tensor]:
    """Return the weights of `ReplacedTokens` with these two networks: the inverse of `split_discriminator` and
    `split_generator`.

    Raises:
        ValueError: they differ in what they share.
    """
    weights, shared = dict(discriminator), _SHARED.get(settings.sharing, ())
    for name, tensor in generator.items():
        if not name.startswith(shared):
            own_prefix = next(own_prefix for own_prefix in _PREFIXES if name.startswith(own_prefix))
            weights[name.replace(own_prefix, _PREFIXES[own_prefix], 1)] = tensor
        elif not torch.equal(tensor, discriminator[name]):
            raise ValueError(
                f"the generator's {name} is not the discriminator's; objective.generator.sharing="
                f"gradient_disentangled (or nothing, as it was trained) leaves them apart"
            )
    if generator and settings.sharing == "gradient_disentangled":
        weights[_TABLE] = weights[_TABLE] - generator[_TABLE]
    return weights


def beside_new_generator(
    discriminator: Mapping[str, Tensor], initial: Mapping[str, Tensor], settings: GeneratorSettings
) -> dict[str, Tensor]:
    """Return the weights of `ReplacedTokens` with this discriminator and the random generator of the `initial` weights.
    Embeddings that a masked-token generator disentangles begin as the discriminator's."""
    weights = dict(discriminator) | {name: initial[name] for name in initial if name.startswith("generator.")}
    if settings.disentangles:
        if settings.kind == "masked_tokens":
            embeddings = [name for name in weights if name.startswith("generator.embeddings.")]
            weights |= {name: discriminator[name.replace("generator.", "encoder.", 1)] for name in embeddings}
        weights[_TABLE] = weights[_TABLE] - weights["generator.embeddings.token.weight"]
    return weights
