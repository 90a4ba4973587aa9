"""Writes checkpoints as TensorFlow does, a byte at a time and by the book, for tests of what reads them."""

import functools
import math
import re
import struct
from pathlib import Path

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def write_bundle(prefix: Path, variables: dict[str, np.ndarray], block_size: int = 4096) -> Path:
    """PREFIX.index and PREFIX.data-00000-of-00001; readable by TensorFlow."""
    data, rows = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name, array in sorted(variables.items()):
        raw = np.ascontiguousarray(array).tobytes()
        dims = b"".join(field(2, field(1, size)) for size in array.shape)
        checked = bytes([6 << 3 | 5]) + struct.pack("<I", masked(crc32c(raw)))
        entry = field(1, DTYPES[array.dtype.name]) + field(2, dims) + field(4, len(data)) + field(5, len(raw)) + checked
        rows.append((name.encode(), entry))
        data += raw
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(rows, block_size))
    return prefix


def table(rows: list[tuple[bytes, bytes]], block_size: int) -> bytes:
    content, handles, waiting = b"", [], []
    for number, row in enumerate(rows):
        waiting.append(row)
        if sum(len(key) + len(value) for key, value in waiting) >= block_size or number == len(rows) - 1:
            content, handle = with_block(content, waiting)
            handles.append((row[0], handle))
            waiting = []
    content, statistics = with_block(content, [])
    content, directory = with_block(content, handles)
    footer = (statistics + directory).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return content + footer


def with_block(content: bytes, rows: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """The file with one more block, and where that is. Every sixteenth key is written in full."""
    block, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(rows):
        shared = 0
        if number % 16:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(block))
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    trailer = b"\0" + struct.pack("<I", masked(crc32c(block + b"\0")))
    return content + block + trailer, varint(len(content)) + varint(len(block))


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


@functools.lru_cache(4096)  # of a network's variables, which many tests write, half of a test's time
def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class Google:
    """The variables of a network as Google's code names them, with random values, and what it computes, in NumPy.

    Source of the forward pass: google-research/electra, model/modeling.py, as described in its paper and BERT's.
    """

    def __init__(self, seed: int = 0):
        self.draw = np.random.default_rng(seed)
        self.variables: dict[str, np.ndarray] = {}

    def add(self, name: str, *shape: int, std: float = 0.3) -> None:
        around = 1.0 if name.endswith("gamma") else 0.0
        self.variables[name] = (around + self.draw.normal(size=shape) * std).astype(np.float32)

    def add_dense(self, name: str, rows: int, columns: int) -> None:
        self.add(f"{name}/kernel", rows, columns, std=1 / math.sqrt(rows))
        self.add(f"{name}/bias", columns)

    def add_norm(self, name: str, size: int) -> None:
        self.add(f"{name}/LayerNorm/gamma", size)
        self.add(f"{name}/LayerNorm/beta", size)

    def add_embeddings(self, scope: str, vocab_size: int, size: int, positions: int = 24) -> None:
        self.add(f"{scope}/embeddings/word_embeddings", vocab_size, size)
        self.add(f"{scope}/embeddings/position_embeddings", positions, size)
        self.add(f"{scope}/embeddings/token_type_embeddings", 2, size)
        self.add_norm(f"{scope}/embeddings", size)

    def add_layers(self, scope: str, embedding: int, hidden: int, num_layers: int) -> None:
        if embedding != hidden:
            self.add_dense(f"{scope}/embeddings_project", embedding, hidden)
        for layer in range(num_layers):
            prefix = f"{scope}/encoder/layer_{layer}"
            for part in ("self/query", "self/key", "self/value", "output/dense"):
                self.add_dense(f"{prefix}/attention/{part}", hidden, hidden)
            self.add_norm(f"{prefix}/attention/output", hidden)
            self.add_dense(f"{prefix}/intermediate/dense", hidden, 4 * hidden)
            self.add_dense(f"{prefix}/output/dense", 4 * hidden, hidden)
            self.add_norm(f"{prefix}/output", hidden)

    def add_slots(self) -> None:
        for name in list(self.variables):
            for slot in ("adam_m", "adam_v"):
                self.variables[f"{name}/{slot}"] = np.zeros(1, np.float32)  # as large as the variable in real ones
        self.variables["global_step"] = np.array(7, np.int64)

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.variables[f"{name}/kernel"] + self.variables[f"{name}/bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * self.variables[f"{name}/LayerNorm/gamma"] + self.variables[f"{name}/LayerNorm/beta"]

    def encode(
        self, scope: str, ids: np.ndarray, segments: np.ndarray, heads: int, embeddings: str | None = None
    ) -> np.ndarray:
        """One row of ids [L] → [L, D]."""
        table = f"{embeddings or scope}/embeddings"
        x = self.variables[f"{table}/word_embeddings"][ids] + self.variables[f"{table}/token_type_embeddings"][segments]
        x = self.norm(table, x + self.variables[f"{table}/position_embeddings"][: len(ids)])
        if f"{scope}/embeddings_project/kernel" in self.variables:
            x = self.dense(f"{scope}/embeddings_project", x)
        layers = {match[1] for name in self.variables if (match := re.match(rf"{scope}/encoder/layer_(\d+)/", name))}
        for layer in range(len(layers)):
            prefix = f"{scope}/encoder/layer_{layer}"
            q, k, v = (
                self.dense(f"{prefix}/attention/self/{part}", x).reshape(len(ids), heads, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (shares / shares.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(ids), -1)
            x = self.norm(f"{prefix}/attention/output", x + self.dense(f"{prefix}/attention/output/dense", mixed))
            inner = gelu(self.dense(f"{prefix}/intermediate/dense", x))
            x = self.norm(f"{prefix}/output", x + self.dense(f"{prefix}/output/dense", inner))
        return x


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
