"""Heads, by the names that all of the package uses for them."""

from collections.abc import Collection
from typing import Literal

Head = Literal["masked_tokens", "replaced_tokens", "classification", "tagging", "answering"]

LABELLED: tuple[Head, ...] = ("classification", "tagging")
"""Those that fine-tuning makes: their outputs are a task's labels, of a row or of each token."""

PRETRAINED: dict[Head | None, str] = {
    "masked_tokens": "masked-token head", "replaced_tokens": "replaced-token head", None: "no head",
}  # fmt: skip
"""What a network may have before it is fine-tuned, in words."""


def first_of(names: Collection[str]) -> str:
    """Return, for a message, one of them and how many more there are."""
    others = len(names) - 1
    return f"{min(names)}{f' and {others} more' if others else ''}"
