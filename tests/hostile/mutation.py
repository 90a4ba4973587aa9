"""Damaged copies of a file, as Hypothesis strategies: bytes changed anywhere, and JSON changed by its structure."""

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

SNIPPETS = (
    b"\x00", b"\x00" * 64, b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\r", b"\n\n\n", b"\t", b" ", b'"', b"'",
    b",", b"{", b"}", b"[", b"]", b"[" * 5000, b'{"a":' * 3000, b"null", b"true", b"NaN", b"Infinity", b"-1",
    b"1e400", b"9" * 5000, b"9" * 20, b"0.1", b"\xc3\x28", "\u2028".encode(), "\x85".encode(), "\u00a0".encode(),
    "\u202e".encode(), b"\x1b[2J", b"../../etc/passwd", b"/", b"\\", b"\\u0000", b"x" * 70000,
)  # fmt: skip
"""Bytes that readers stumble over."""

ODD_VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", " ", "a", "0", "null", "\x00", "\x1b[31m",
    "../..", "\ud800", "é" * 300, [], [[]], {}, {"": None}, [None], ["a", 1], [0] * 2000,
)  # fmt: skip
"""Values in place of those that a JSON file should have."""


@st.composite
def mutated(draw: st.DrawFn, content: bytes, snippets: Sequence[bytes] = SNIPPETS) -> bytes:
    """Return `content` after one to four changes: cut, zeroed, flipped, deleted, repeated, swapped or inserted."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data))))
        length = draw(st.sampled_from((1, 2, 4, 8, 16, 100, 1000)))
        end = min(len(data), start + length)
        change = draw(st.sampled_from(("cut", "zero tail", "flip", "delete", "repeat", "swap", "insert", "random")))
        if change == "cut":
            del data[start:]
        elif change == "zero tail":  # what a power cut leaves of a file whose length was written before its data
            data[start:] = bytes(len(data) - start)
        elif change == "flip" and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif change == "delete":
            del data[start:end]
        elif change == "repeat":
            data[start:start] = data[start:end] * draw(st.sampled_from((1, 2, 50)))
        elif change == "swap":
            other = draw(st.integers(0, max(0, len(data) - length)))
            data[start:end], data[other : other + length] = data[other : other + length], data[start:end]
        elif change == "insert":
            data[start:start] = draw(st.sampled_from(snippets))
        else:
            data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
    return bytes(data)


@st.composite
def mutated_json(draw: st.DrawFn, content: Any) -> bytes:
    """Return the JSON text of `content` with one to three values or keys replaced, removed, added or renamed."""
    content, odd_values = deepcopy(content), st.sampled_from(ODD_VALUES).map(deepcopy)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(("replace", "replace", "remove", "add", "rename", "wrap")))
        if change == "replace":
            holder[key] = draw(odd_values | st.integers() | st.text(max_size=20))
        elif change == "remove":
            del holder[key]
        elif change == "wrap":
            holder[key] = [holder[key]]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = holder[key] if change == "add" else holder.pop(key)
        else:
            holder.insert(key, draw(odd_values))
    return json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return every (list or object, key) of a JSON value, the outermost first and of long ones the first few."""
    places, holders = [], [content]
    while holders:
        holder = holders.pop(0)
        items = list(holder.items() if isinstance(holder, dict) else enumerate(holder))[:40]
        places += [(holder, key) for key, _ in items]
        holders += [value for _, value in items if isinstance(value, dict | list)]
    return places
