"""How fast each layer learns in fine-tuning."""

from collections.abc import Callable


def layer_rates(num_layers: int, decay: float, compat: bool = False) -> Callable[[str], float]:
    """Return the factor on the learning rate of the parameter of this name.

    1 for the head, `decay` for the top layer, and `decay` times as much for each layer below, the embeddings and their
    projection being the lowest. With `compat` the whole encoder learns slower by one more `decay`: the reference counts
    its layers from 0 and its head from num_layers + 2, so that its top layer gets decay² already.
    Source: google-research/electra, model/optimization.py, _get_layer_lrs.
    """
    lowest = num_layers + 2 if compat else num_layers + 1

    def rate_of(name: str) -> float:
        if not name.startswith("encoder."):
            return 1.0
        depth = int(name.split(".")[2]) + 1 if name.startswith("encoder.layers.") else 0
        return decay ** (lowest - depth)

    return rate_of
