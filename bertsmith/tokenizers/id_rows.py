"""Ids of many texts end to end, and those of some of them put in later."""

from collections.abc import Mapping, Sequence

import numpy as np


def put_rows(ids: np.ndarray, ends: np.ndarray, rows: Mapping[int, Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of texts [T] uint32 and where each ends [N] int64, with `rows` of ids for texts that have none
    yet, by the texts' numbers, in order."""
    if not rows:
        return ids, ends
    numbers, sizes = np.array([*rows]), np.array([len(row) for row in rows.values()])
    new = np.array([id for row in rows.values() for id in row], dtype=ids.dtype)
    added = np.zeros(len(ends), dtype=np.int64)
    added[numbers] = sizes
    return np.insert(ids, np.repeat(ends[numbers], sizes), new), ends + np.cumsum(added)
