"""Which of a row's tokens begin a word: a look-up by the two tokens at each place."""

from typing import NamedTuple

import numpy as np


class WordBounds(NamedTuple):
    """Where words begin among the ids of V tokens, whose ends are of C classes."""

    first: np.ndarray
    """[V] int8, the class of a token's beginning."""
    last: np.ndarray
    """[V] int8, of its end."""
    cut: np.ndarray
    """[C, C] bool: whether a beginning of the second class begins a word after an end of the first."""

    @classmethod
    def of_marked(cls, is_continuation: np.ndarray) -> "WordBounds":
        """Return the bounds where a token alone says whether it continues a word: [V] bool."""
        return cls(is_continuation.astype(np.int8), np.zeros(len(is_continuation), np.int8), np.array([[True, False]]))

    def starts(self, ids: np.ndarray) -> np.ndarray:
        """Return whether each of the tokens [T], which follow one another, begins a word; the first does: [T] bool."""
        starts = np.ones(len(ids), dtype=bool)
        starts[1:] = self.cut[self.last[ids[:-1]], self.first[ids[1:]]]
        return starts
