"""The sizes of an encoder as its tensors have them, and what config.json says of them."""

import re
from collections.abc import Mapping
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.hub.family import Family


def sizes_of(family: Family, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, int]:
    """Return the sizes that the tensors show, by their keys in config.json.

    Args:
        shapes: of all tensors, by the family's own names.
        where: the folder.

    Raises:
        UserError: a tensor that shows a size is missing, or has another number of dimensions.
    """

    def shape(name: str, num_axes: int = 2) -> tuple[int, ...]:
        if name not in shapes:
            raise UserError(f"{where}: no {name}, which every model of the kind has; take all of the weights")
        if len(shapes[name]) != num_axes or min(shapes[name]) < 1:
            raise UserError(f"{where}: {name} is {list(shapes[name])}, which no such tensor can be; fetch it again")
        return shapes[name]

    sizes, pattern, expand = family.sizes(shape, where)
    sizes["num_hidden_layers"] = len({match[1] for name in shapes if (match := re.match(pattern, name))})
    if sizes["num_hidden_layers"] == 0:
        raise UserError(f"{where}: no tensor of a layer (as {expand}); take all of the weights")
    sizes |= family.layer_sizes(*shape(expand))
    if family.is_unprojected and sizes.pop("embedding_size") != sizes["hidden_size"]:
        raise UserError(
            f"{where}: embeddings of another width than the layers' {sizes['hidden_size']}, which no {family.title} has"
        )
    return sizes


def agreed(config: Mapping[str, Any], sizes: Mapping[str, int], where: str) -> tuple[dict[str, int], list[str]]:
    """Return the sizes that config.json and the tensors agree on, and lines that say which only the tensors show.

    Raises:
        UserError: they disagree, or config.json has no whole number.
    """
    absent = [key for key in sizes if config.get(key) is None]
    for key, value in sizes.items():
        said = config.get(key)
        if said is None:
            continue
        if type(said) is not int or said < 1:
            raise UserError(f"{where}: {key} = {quoted(said, 60)}; it must be a whole number above 0")
        if said != value:
            raise UserError(
                f"{where}: {key} = {quoted(said, 60)} where the tensors have {value:,}; put the config.json that "
                f"belongs to these weights beside them"
            )
    notes = [f"config.json has no {key}: {sizes[key]:,}, as the tensors have it" for key in absent]
    return dict(sizes), notes
