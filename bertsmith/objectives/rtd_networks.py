"""ELECTRA's two networks as models of their own: settings that make a generator as large as a model's, and their
weights ↔ those of `ReplacedTokens`."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from bertsmith.config.loading import check
from bertsmith.console.shell import quote
from bertsmith.encoders.config import EncoderConfig, refuse_differences
from bertsmith.errors import UserError
from bertsmith.objectives.generator import GeneratorSettings

SIZE_SETTINGS = ("sharing", "hidden_fraction", "layers_fraction")
"""Settings that decide the shapes of its weights."""


def choose_generator(
    settings: GeneratorSettings, config: EncoderConfig, networks: Sequence[Any], init: str, is_run: bool
) -> list[Any]:
    """Return the generator of the model `init`, if `settings` makes a masked-token model and there is one, or the model
    is such a one itself and as wide.

    Raises:
        UserError: it is of other sizes, or a folder's discriminator is without it.
    """
    if settings.kind != "masked_tokens":
        return []
    generator, first = _generator_of(networks), networks[0]
    if generator is not None:
        adapted = _adapted(settings, generator.settings, config)
        remedy = None if adapted is None else "set " + " ".join(
            f"objective.generator.{name}={getattr(adapted, name)}"
            for name in SIZE_SETTINGS
            if getattr(settings, name) != getattr(adapted, name)
        )  # fmt: skip
        what = f"init = {init}: another generator than objective.generator makes"
        refuse_differences(what, "its ", settings.encoder_config(config).sizes(), generator.settings.sizes(), remedy)
        return [generator]
    if first.head == "masked_tokens":
        return _first_layers(first, settings.encoder_config(config))
    if first.head == "replaced_tokens" and not is_run and not first.is_energy_head:
        raise UserError(
            f"init = {init}: a discriminator without its generator; bring that in with `bertsmith import "
            f"{quote(init)} OUT generator=PATH`, or do without one: objective.generator.kind=uniform"
        )
    return []


def generator_like(
    given: Any, config: EncoderConfig, networks: Sequence[Any], trained: GeneratorSettings | None
) -> dict[str, Any]:
    """Return settings that make a generator as wide, as deep and as shared as the model's.

    Args:
        given: what a recipe says of the generator, unchecked.
        trained: the settings that a run made it with.
    """
    table: Mapping[str, Any] = given if isinstance(given, dict) else {}
    generator = _generator_of(networks)
    if generator is None or table.get("kind", "masked_tokens") != "masked_tokens":
        return {}
    settings = trained
    if settings is None:
        with contextlib.suppress(UserError):  # a value that cannot be, as checking will say
            own = {"sharing": "gradient_disentangled"} if generator.is_disentangled else {}
            fixed = [name for name in SIZE_SETTINGS if name in table]
            settings = _adapted(check(GeneratorSettings, own | dict(table)), generator.settings, config, fixed)
    return {} if settings is None else {name: getattr(settings, name) for name in SIZE_SETTINGS}


def _generator_of(networks: Sequence[Any]) -> Any | None:
    return next((network for network in networks[1:] if network.head == "masked_tokens"), None)


def _first_layers(network: Any, config: EncoderConfig) -> list[Any]:
    """Return a masked-token model with its first layers as a generator of the sizes `config`; nothing where these
    differ in more than the number of layers."""
    if network.settings.sizes() | {"num_hidden_layers": config.num_hidden_layers} != config.sizes():
        return []
    dropped = tuple(
        f"encoder.layers.{index}." for index in range(config.num_hidden_layers, network.settings.num_hidden_layers)
    )
    weights = {name: tensor for name, tensor in network.weights.items() if not name.startswith(dropped)}
    return [replace(network, name="generator", settings=config, weights=weights)]


def _adapted(
    settings: GeneratorSettings,
    generator_config: EncoderConfig,
    discriminator_config: EncoderConfig,
    fixed: Collection[str] = (),
) -> GeneratorSettings | None:
    """Return `settings` changed as little as makes a generator of these sizes, the `fixed` settings not at all; None
    where that cannot be."""
    depth = generator_config.num_hidden_layers / discriminator_config.num_hidden_layers
    choices: dict[str, Iterable[Any]] = {
        "sharing": dict.fromkeys((settings.sharing, "embeddings", "nothing")),
        "hidden_fraction": (settings.hidden_fraction, generator_config.hidden_size / discriminator_config.hidden_size),
        "layers_fraction": (settings.layers_fraction, depth),
    }
    for name in fixed:
        choices[name] = (getattr(settings, name),)
    for sharing, hidden, layers in product(*choices.values()):
        adapted = replace(settings, sharing=sharing, hidden_fraction=hidden, layers_fraction=layers)
        with contextlib.suppress(ValueError):  # no such encoder can be
            sizes = adapted.encoder_config(discriminator_config).sizes()
            if max(hidden, layers) <= 1 and sizes == generator_config.sizes():
                return adapted
    return None


GENERATOR_TABLE = "generator.embeddings.token.weight"
"""The generator's own token vectors; a disentangled discriminator uses these too, with `_TABLE` added."""

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
        own[_TABLE] = own[_TABLE] + weights[GENERATOR_TABLE]
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


def with_new_generator(
    discriminator: Mapping[str, Tensor], initial: Mapping[str, Tensor], settings: GeneratorSettings
) -> dict[str, Tensor]:
    """Return the weights of `ReplacedTokens` with this discriminator and the random generator of the `initial` weights.
    Embeddings that a masked-token generator disentangles begin as the discriminator's."""
    weights = dict(discriminator) | {name: initial[name] for name in initial if name.startswith("generator.")}
    if settings.disentangles:
        if settings.kind == "masked_tokens":
            embeddings = [name for name in weights if name.startswith("generator.embeddings.")]
            weights |= {name: discriminator[name.replace("generator.", "encoder.", 1)] for name in embeddings}
        weights[_TABLE] = weights[_TABLE] - weights[GENERATOR_TABLE]
    return weights
