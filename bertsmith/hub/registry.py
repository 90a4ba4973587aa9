"""The families of Hugging Face's classes by name, and tables over all of them."""

from bertsmith.config.registry import classes_in
from bertsmith.hub import families
from bertsmith.hub.family import Family

FAMILIES: dict[str, Family] = {cls.name: cls() for cls in classes_in(families, Family)}
"""Of all files in `families/`."""

CLASSES: dict[str, Family] = {
    **{name: family for family in FAMILIES.values() for name in family.classes},
    **{name: family for family in FAMILIES.values() for name in family.other_classes},
}
"""Class of transformers → its family; a message names the bare ones last."""


def kind_of_buffer(name: str) -> str | None:
    """Return the name of a buffer, a tensor that is not trained, such as "position_ids"; None for all others."""
    return next((kind for family in FAMILIES.values() if (kind := family.kind_of_buffer(name))), None)


def kind_of_dropped(name: str, family: Family) -> str | None:
    """Return the title of a tensor that is not read: a buffer, one in `Family.dropped`, a pooler in a family whose
    heads have none; None for all others."""
    poolers = () if family.pooler else ("pooler.", f"{family.base_model_prefix}.pooler.")
    dropped = {**family.dropped, **dict.fromkeys(poolers, "pooler")}
    titles = (title for beginning, title in dropped.items() if name.startswith(beginning))
    return kind_of_buffer(name) or next(titles, None)
