"""Randomness without state: every random generator is derived from (seed, purpose, position).

What a run draws at step 1,000 follows from its seed and that number, so a resumed run draws the same and a checkpoint
holds no random state.
"""

import zlib

import numpy as np


def derived_rng(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """Return a random generator for one purpose ("masks", "rows", …) at one position (step, epoch, …)."""
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, position)))


def derived_seed(seed: int, purpose: str, *position: int) -> int:
    """Return a 63-bit seed for another library's generator (torch's)."""
    return int(_sequence(seed, purpose, position).generate_state(1, np.uint64)[0] >> 1)


def _sequence(seed: int, purpose: str, position: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *position])
