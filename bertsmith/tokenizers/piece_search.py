"""The likeliest pieces of many words at once, as the Unigram model of `tokenizers` finds them, a sixth of its time.

All words go through the trie of pieces together, a character deeper at each step; then the best way to each place is
found from left to right, for the same place of all words together. Scores are added in 64 bits in the order of
`tokenizers`, and of two ways that are equally likely the first one stays, so that the ids are the same.
Source: `encode_optimized` in tokenizers, models/unigram/model.rs.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_END = 0x110000
"""Stands after each word: no character."""
_NO_KEY = np.uint64(0)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # of Fibonacci hashing


class PieceSearch:
    """The pieces of a Unigram's vocabulary as a trie in arrays."""

    def __init__(self, vocabulary: Sequence[tuple[str, float]], unk_id: int | None):
        """Build the trie of pieces with their scores; of a piece that stands twice the last one counts."""
        self._scores = np.array([score for _, score in vocabulary], dtype=np.float64)
        self._unk_id = -2 if unk_id is None else unk_id  # -1 is no piece
        sizes = np.array([len(piece) for piece, _ in vocabulary], dtype=np.int64)
        codes = _codes("".join(piece for piece, _ in vocabulary))
        starts = np.cumsum(sizes) - sizes
        self._first = np.zeros(_END + 1, dtype=np.int64)  # character → node; node 0 is none
        node_of_piece = np.zeros(len(sizes), dtype=np.int64)
        keys, piece_of_node, num_nodes = [], [np.full(1, -1)], 1
        for depth in range(sizes.max(initial=0)):
            there = np.flatnonzero(sizes > depth)
            found, place = np.unique(_keys(node_of_piece[there], codes[starts[there] + depth]), return_inverse=True)
            node_of_piece[there] = num_nodes + place
            if depth == 0:
                self._first[found.astype(np.int64)] = num_nodes + np.arange(len(found))
            else:
                keys.append(found)
            pieces = np.full(len(found), -1)
            last = there[sizes[there] == depth + 1]
            pieces[node_of_piece[last] - num_nodes] = last
            piece_of_node.append(pieces)
            num_nodes += len(found)
        self._piece_of_node = np.concatenate(piece_of_node)
        deeper = np.concatenate([np.empty(0, np.uint64), *keys])
        self._build_table(deeper, num_nodes - len(deeper) + np.arange(len(deeper)))

    def _build_table(self, keys: np.ndarray, nodes: np.ndarray) -> None:
        """Make the hash table (node, character) → node beneath it, where what collides is in the next free slot."""
        bits = max(4, int(4 * len(keys)).bit_length())
        self._shift, self._last_slot = np.uint64(64 - bits), (1 << bits) - 1
        self._table, self._nodes = np.zeros(1 << bits, dtype=np.uint64), np.zeros(1 << bits, dtype=np.int64)
        slots = self._slots(keys)
        while len(keys):
            free = self._table[slots] == _NO_KEY
            self._table[slots[free]] = keys[free]
            is_in = self._table[slots] == keys
            self._nodes[slots[is_in]] = nodes[is_in]
            keys, nodes, slots = keys[~is_in], nodes[~is_in], (slots[~is_in] + 1) & self._last_slot

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        slots: np.ndarray = ((keys * _FACTOR) >> self._shift).astype(np.int64)
        return slots

    def _beneath(self, nodes: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the nodes beneath others, by a character each; 0 where there is none."""
        keys = _keys(nodes, codes)
        slots = self._slots(keys)
        there = self._table[slots]
        found: np.ndarray = np.where(there == keys, self._nodes[slots], 0)
        left = np.flatnonzero((there != keys) & (there != _NO_KEY))
        while len(left):
            slots[left] = slots[left] + 1 & self._last_slot
            there, wanted = self._table[slots[left]], keys[left]
            found[left] = np.where(there == wanted, self._nodes[slots[left]], 0)
            left = left[(there != wanted) & (there != _NO_KEY)]
        return found

    def encode(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all words end to end, uint32, and how many each has; none of a word with a character that
        is no piece, and of an empty one."""
        sizes = np.array([len(word) for word in words], dtype=np.int64)
        codes = _codes("\0".join([*words, ""]))
        ends = np.cumsum(sizes + 1) - 1
        codes[ends] = _END
        starts = ends - sizes
        begins, stops, pieces = self._matches(codes)
        back, best_piece = self._best_ways(begins, stops, pieces, starts, sizes)
        lone = self._piece_of_node[self._first[codes]]
        is_unknown = (lone < 0) | (best_piece[: len(codes)] == self._unk_id)
        is_unknown[ends] = best_piece[ends] == self._unk_id
        unknown_before = np.cumsum(is_unknown)
        is_known = (sizes > 0) & (unknown_before[ends] - unknown_before[starts] + is_unknown[starts] == 0)
        is_start = np.zeros(len(codes) + 1, dtype=bool)
        is_start[starts] = True
        is_end = np.zeros(len(codes) + 1, dtype=bool)
        places = ends[is_known]
        while len(places):
            is_end[places] = True
            places = back[places]
            places = places[~is_start[places]]
        count = np.cumsum(is_end)
        return best_piece[is_end].astype(np.uint32), count[ends] - count[starts]

    def _matches(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where each piece that is in the words begins and stops, and its id."""
        nodes = self._first[codes]
        places = np.flatnonzero(nodes)
        nodes = nodes[places]
        found = [(np.empty(0, np.int64),) * 3]
        depth = 0
        while len(places):
            depth += 1
            pieces = self._piece_of_node[nodes]
            is_piece = pieces >= 0
            found.append((places[is_piece], places[is_piece] + depth, pieces[is_piece]))
            nodes = self._beneath(nodes, codes[places + depth])
            goes_on = nodes > 0
            nodes, places = nodes[goes_on], places[goes_on]
        begins, stops, pieces = map(np.concatenate, zip(*found, strict=True))
        return begins, stops, pieces

    def _best_ways(
        self, begins: np.ndarray, stops: np.ndarray, pieces: np.ndarray, starts: np.ndarray, sizes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return for each place where the last piece of the best way to it begins, and which piece that is."""
        num_places = int((starts + sizes).max(initial=-1)) + 2
        depths = np.arange(num_places - 1) - np.repeat(starts, sizes + 1)  # of a place in its word
        depth = depths[begins].astype(np.int16)
        order = np.argsort(depth, kind="stable")
        begins, stops, pieces = begins[order], stops[order], pieces[order]
        bounds = np.searchsorted(depth[order], np.arange(int(sizes.max(initial=0)) + 1))
        best = np.full(num_places, -np.inf)
        best[starts] = 0.0
        back, best_piece = np.zeros(num_places, np.int64), np.full(num_places, -1)
        scores = self._scores[pieces]
        for first, last in pairwise(bounds.tolist()):
            begin, stop = begins[first:last], stops[first:last]
            score = scores[first:last] + best[begin]
            is_better = score > best[stop]
            stop = stop[is_better]
            best[stop], back[stop], best_piece[stop] = score[is_better], begin[is_better], pieces[first:last][is_better]
        return back, best_piece


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)


def _keys(nodes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return (nodes.astype(np.uint64) << np.uint64(21)) | codes.astype(np.uint64)
