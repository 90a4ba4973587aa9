"""The generator of an opened model, and settings that make one as large."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

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
    """Return the generator beside the first network of the model `init` if `settings` makes such a one.

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
            fixed = [name for name in SIZE_SETTINGS if name in table]
            settings = _adapted(check(GeneratorSettings, dict(table)), generator.settings, config, fixed)
    return {} if settings is None else {name: getattr(settings, name) for name in SIZE_SETTINGS}


def _generator_of(networks: Sequence[Any]) -> Any | None:
    return next((network for network in networks[1:] if network.head == "masked_tokens"), None)


def _adapted(
    settings: GeneratorSettings,
    generator: EncoderConfig,
    discriminator_config: EncoderConfig,
    fixed: Collection[str] = (),
) -> GeneratorSettings | None:
    """Return `settings` changed as little as makes a generator of these sizes, the `fixed` settings not at all; None
    where that cannot be."""
    depth = generator.num_hidden_layers / discriminator_config.num_hidden_layers
    choices: dict[str, Iterable[Any]] = {
        "sharing": dict.fromkeys((settings.sharing, "embeddings", "nothing")),
        "hidden_fraction": (settings.hidden_fraction, generator.hidden_size / discriminator_config.hidden_size),
        "layers_fraction": (settings.layers_fraction, depth),
    }
    for name in fixed:
        choices[name] = (getattr(settings, name),)
    for sharing, hidden, layers in product(*choices.values()):
        adapted = replace(settings, sharing=sharing, hidden_fraction=hidden, layers_fraction=layers)
        with contextlib.suppress(ValueError):  # no such encoder can be
            if max(hidden, layers) <= 1 and adapted.encoder_config(discriminator_config).sizes() == generator.sizes():
                return adapted
    return None
