"""GPUs by name: memory, peak and price, to plan with."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from bertsmith.errors import UserError


class GPU(NamedTuple):
    """One GPU, by its vendor's data sheet."""

    name: str
    memory_bytes: float
    bfloat16_flops: float | None
    """Dense matrix products a second, added up in float32; None where there is no such format (float16 is not used)."""
    float32_flops: float
    """Dense matrix products a second in TF32, which training uses where there is such a format."""
    link_bytes: float
    """Bytes a second to the other GPUs of a machine, one way: NVLink's where the data sheet has it, else PCIe's."""
    price: float
    """USD an hour: an assumed, round figure for renting one on demand in 2026. Prices differ twofold and change."""

    def peak_flops(self, dtype: str) -> tuple[str, float | None]:
        """Return the format that `machine.dtype` means on it, with its operations a second."""
        if dtype == "auto":
            dtype = "float32" if self.bfloat16_flops is None else "bfloat16"
        return dtype, self.bfloat16_flops if dtype == "bfloat16" else self.float32_flops


GPUS = (
    GPU("T4", 16e9, None, 8.1e12, 16e9, 0.4),
    GPU("V100-16GB", 16e9, None, 15.7e12, 150e9, 1.0),
    GPU("RTX3090", 24e9, 71e12, 35.6e12, 32e9, 0.25),
    GPU("RTX4090", 24e9, 165e12, 82.6e12, 32e9, 0.5),
    GPU("L4", 24e9, 121e12, 60e12, 32e9, 0.7),
    GPU("L40S", 48e9, 362e12, 183e12, 32e9, 1.0),
    GPU("A100-80GB", 80e9, 312e12, 156e12, 300e9, 1.5),
    GPU("H100-80GB", 80e9, 989e12, 494e12, 450e9, 2.5),
    GPU("H200", 141e9, 989e12, 494e12, 450e9, 3.5),
)
"""Sources: NVIDIA's data sheets of T4, V100 (SXM2), L4, L40S, A100 (SXM), H100 (SXM), H200 (SXM), half of the figure
where that is with sparsity; of the RTX cards the whitepapers on GA102 and Ada."""


def find_gpus(names: Sequence[str]) -> tuple[GPU, ...]:
    """Return the GPUs of these names, in any case, or with names that begin so ("h100"); all of them for no name.

    Raises:
        UserError: there is none of a name.
    """
    return tuple(dict.fromkeys(gpu for name in names for gpu in _find(name))) or GPUS


def _find(name: str) -> list[GPU]:
    names = {gpu.name.lower(): gpu for gpu in GPUS}
    wanted = name.lower().replace(" ", "")
    if wanted in names:
        return [names[wanted]]
    found = [gpu for known, gpu in names.items() if wanted and known.startswith(wanted)]
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f"did you mean {names[near[0]].name}?" if near else f"there are {', '.join(gpu.name for gpu in GPUS)}"
        raise UserError(f"--gpu {name}: not in the table; {hint}")
    return found
