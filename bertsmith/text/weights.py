"""Weights of several corpora, and the shares of the training tokens that follow from them."""

from collections.abc import Mapping
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.text.shards import Data

DIGITS = 12  # of a share: weights of the same ratio have the same shares


def shares_of(weights: Mapping[str, float]) -> dict[str, float]:
    """Return each corpus's share of all weights; empty where there are none."""
    return {name: round(weight / sum(weights.values()), DIGITS) for name, weight in weights.items()}


def prepared_weights(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Return by name the weights of a data folder's manifest; empty where it has none."""
    return {each["name"]: each["weight"] for each in manifest.get("corpora", ()) if each.get("weight") is not None}


def training_shares(data: Data, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of the training tokens that each corpus with training text has; empty for data of one corpus.

    They follow from `weights`, else from those that it was prepared with, else each text is seen equally often.

    Raises:
        UserError: weights name something else than these corpora, or one is nothing beside the others.
    """
    found = {name: own.num_tokens("train") for name, own in data.corpora.items() if own.num_tokens("train")}
    if not data.corpora:
        if weights:
            raise UserError(f"weights: {data.address} is of one corpus; leave them out")
        return {}
    if not found:
        raise UserError(f"{data.address}: holds no train text; prepare more of it, or another heldout_fraction")
    names = ", ".join(found)
    for name in weights:
        if name not in found:
            what = "has no training text" if name in data.corpora else f"no corpus of {data.address}"
            raise UserError(f"weights.{quoted(name, 40)}: {what}; there are {names}")
    if lacking := [name for name in found if weights and name not in weights]:
        raise UserError(f"weights: has none for {', '.join(lacking)}; give each of {names} one")
    prepared = prepared_weights(data.manifest)
    chosen = {name: weights.get(name) or prepared.get(name) or float(found[name]) for name in found}
    if min(chosen.values()) <= 0:
        raise data.damaged("manifest.json", "a weight that is not above 0")
    shares = shares_of(chosen)
    if nothing := [name for name in shares if not shares[name]]:
        raise UserError(
            f"weights.{nothing[0]} = {chosen[nothing[0]]:g}: no token beside the others' weights; give it a larger one"
        )
    return shares
