"""Settings classes: frozen dataclasses whose fields have a description and a range.

Standard library only, so that the rooms that own settings import without pydantic; `bertsmith.config.loading` reads the
same metadata and does the checking.

    @settings
    class Schedule:
        warmup_steps: int = setting(10_000, "steps of linear warm-up", ge=0)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

Settings = TypeVar("Settings")

Renamed = tuple[str, Callable[[Any], Any]]
"""A setting's name of now, and its value for one of before, None where that is none. A class maps earlier names to such
in `renamed`; they are taken, with a line that gives the new one."""


def setting(
    default: Any = dataclasses.MISSING,
    description: str = "",
    *,
    identity: bool = True,
    url: bool = False,
    only: tuple[str, ...] = (),
    **constraints: Any,
) -> Any:
    """Make a field of a settings class.

    Args:
        default: its value when the recipe is silent; left out, the recipe must give one.
        description: what it means, with unit and range; shown by `bertsmith show`.
        identity: whether another value makes it another run. False for what cannot change the result (workers,
            intervals, where the data lies): such a setting may differ when a command is run again on its folder.
        url: whether its text may be an address (`s3://…`, `https://…`); elsewhere that is refused, lest it be taken
            for a local path.
        only: tags of its class that it applies to, in words for people; the class gives its own in a property `tags`,
            by its values. Without one of them the setting is refused, and no part of a run's identity.
        constraints: pydantic's names: `gt`, `ge`, `lt`, `le`, `min_length`, `pattern`, `discriminator`.
    """
    assert description, "every setting says what it means"
    metadata = {"description": description, "identity": identity, "url": url, "only": only, **constraints}
    if dataclasses.is_dataclass(default) or isinstance(default, dict | list):
        value = default
        return dataclasses.field(default_factory=lambda: value, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# `setting` is no `field_specifiers`: type checkers would see a default only where it is given by keyword.
@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[Settings]) -> type[Settings]:
    """Make `cls` a settings class: frozen, keyword-only, and strict about unknown keys when read from a recipe."""
    setattr(cls, "__pydantic_config__", {"extra": "forbid", "strict": True, "allow_inf_nan": False})  # noqa: B010
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)
