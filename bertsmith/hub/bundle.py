"""A TensorFlow checkpoint, read without TensorFlow: PREFIX.index has the places of the variables in PREFIX.data-….

The format ("V2", a tensor bundle) has not changed since 2016; the part of it that a saved model uses is read here.
TensorFlow itself, to read one file, would be 1.6 GB on disk and have a say in which Python and NumPy one may have.

Source: tensorflow, core/util/tensor_bundle/tensor_bundle.cc, core/protobuf/tensor_bundle.proto, core/lib/io/format.cc;
the index is a table of LevelDB (doc/table_format.md there).
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import reported

MAX_INDEX_BYTES = 64 << 20
"""Of an index: about 100 bytes a variable."""

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
"""Bytes at the end of the index: where its two directories are, and the magic number."""

_FLOATS = {1: torch.float32, 2: torch.float64, 14: torch.bfloat16, 19: torch.float16}
"""Of TensorFlow's numbers for types, those that weights are stored in."""

_LANES = 2048
"""Pieces of a tensor, for checksums side by side."""


class Entry(NamedTuple):
    """A variable, by the index."""

    dtype: int
    """TensorFlow's number."""
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    """Bytes, from `offset` in the shard's file."""
    checksum: int
    is_sliced: bool


class Bundle:
    """The variables of a checkpoint: `entries` by name, read one at a time."""

    def __init__(self, prefix: Path):
        """Read the index of the checkpoint `prefix`. Raises UserError where it is missing, damaged, or of a kind that
        TensorFlow does not write for a model."""
        self.prefix = prefix
        self.index = prefix.with_name(f"{prefix.name}.index")
        with reported(self.index), self.index.open("rb") as file:
            content = file.read(MAX_INDEX_BYTES + 1)
        try:
            if len(content) > MAX_INDEX_BYTES:
                raise _Damaged(f"larger than {MAX_INDEX_BYTES:,} bytes")
            rows = dict(_rows(content))
            header = _message(rows.pop(b""))
            self.num_shards = _number(header, 1)
            endianness = _number(header, 2)
            self.entries = {name.decode(): _entry(value) for name, value in rows.items()}
        except (_Damaged, IndexError, KeyError, TypeError, AttributeError, ValueError, struct.error) as error:
            why = quoted(str(error), 100)[1:-1]
            raise UserError(f"{self.index}: damaged, or no TensorFlow checkpoint ({why}); fetch it again") from None
        if endianness:
            raise UserError(f"{self.index}: written on a big-endian machine; save it again on another")

    def check(self, name: str) -> Path:
        """Return the file of a variable. Raises UserError where it holds no floats, or not as many bytes as its shape
        asks for."""
        entry = self.entries[name]
        file = self.prefix.with_name(f"{self.prefix.name}.data-{entry.shard:05d}-of-{self.num_shards:05d}")
        if entry.dtype not in _FLOATS or entry.is_sliced:
            kind = "stored in slices" if entry.is_sliced else f"of TensorFlow's type {entry.dtype}, which is no float"
            raise UserError(f"{self.index}: {name} is {kind}; save it as one variable of floats")
        dtype = _FLOATS[entry.dtype]
        if not entry.size or math.prod(entry.shape) * dtype.itemsize != entry.size:
            raise UserError(f"{self.index}: {name} {list(entry.shape)} in {entry.size} bytes: damaged; fetch it again")
        if not file.is_file():
            raise UserError(f"{file}: no such file, and {name} is in it; put it beside {self.index.name}")
        if file.stat().st_size < entry.offset + entry.size:
            raise UserError(f"{file}: ends before or within {name}; fetch it again")
        return file

    def read(self, name: str) -> Tensor:
        """Return a variable of floats, as it was stored. Raises UserError where `check` does, or the bytes do not have
        their checksum."""
        entry, file = self.entries[name], self.check(name)
        with reported(file):
            stored = np.fromfile(file, np.uint8, entry.size, offset=entry.offset)
        if _masked(checksum(stored)) != entry.checksum:
            raise UserError(f"{file}: damaged within {name} (its checksum is not the index's); fetch it again")
        return torch.from_numpy(stored).view(_FLOATS[entry.dtype]).reshape(entry.shape)


class _Damaged(Exception):
    pass


def _rows(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the table, in the order of the keys."""
    if len(content) < _FOOTER or int.from_bytes(content[-8:], "little") != _MAGIC:
        raise _Damaged("it does not end as a table does")
    at = len(content) - _FOOTER
    _, at = _varint(content, at)  # the directory of statistics, which TensorFlow leaves empty
    _, at = _varint(content, at)
    last, left = None, len(content)
    for _, handle in _block(content, at):
        left -= _varint(handle, _varint(handle, 0)[1])[0]
        if left < 0:
            raise _Damaged("its blocks lie over each other")
        for key, value in _block(handle, 0, content):
            if last is not None and key <= last:
                raise _Damaged("its keys are not in order")
            last = key
            yield key, value


def _block(handle: bytes, at: int, content: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the block that `handle` points to, in `content`; by default in `handle` itself."""
    content = handle if content is None else content
    start, at = _varint(handle, at)
    size, _ = _varint(handle, at)
    block, trailer = content[start : start + size], content[start + size : start + size + 5]
    compression, stored = struct.unpack("<BI", trailer)
    if _masked(checksum(np.frombuffer(block + trailer[:1], np.uint8))) != stored:
        raise _Damaged("a checksum is wrong")
    if compression:
        raise _Damaged("it is compressed")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    at, end, key = 0, len(block) - 4 * (num_restarts + 1), b""
    if end < 0:
        raise _Damaged("a block is too short")
    while at < end:
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + added + length > end:
            raise _Damaged("an entry is longer than its block")
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + length]
        at += added + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise _Damaged("a number is too long")


def _message(data: bytes) -> dict[int, list[Any]]:
    """Return the fields of a protocol buffer by number: whole numbers, or bytes where a field has a length."""
    fields: dict[int, list[Any]] = {}
    at = 0
    value: Any
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise _Damaged("a field is longer than its message")
        elif kind == 5:
            (value,), at = struct.unpack("<I", data[at : at + 4]), at + 4
        else:
            raise _Damaged(f"a field of kind {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _number(fields: dict[int, list[Any]], number: int) -> int:
    """Return the last of a field's values, as protocol buffers are read; 0 where it is left out."""
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise _Damaged("a field is of another type")
    return value


def _entry(data: bytes) -> Entry:
    fields = _message(data)
    dims = _message(fields.get(2, [b""])[0]).get(2, [])
    shape = tuple(_number(_message(dim), 1) for dim in dims)
    dtype, shard, offset, size, stored = (_number(fields, number) for number in (1, 3, 4, 5, 6))
    return Entry(dtype, shape, shard, offset, size, stored, is_sliced=7 in fields)


def checksum(data: np.ndarray) -> int:
    """Return the CRC-32C of bytes ([n] uint8), 400 MB in some seconds: of pieces of equal length, side by side, joined.

    Source: RFC 3720, appendix B.4; the joining is that of zlib's crc32_combine.
    """
    length = len(data) // _LANES
    if length < 64:  # too short to be worth it
        return _continued(0xFFFFFFFF, data) ^ 0xFFFFFFFF
    crcs = np.zeros(_LANES, np.uint32)
    crcs[0] = 0xFFFFFFFF
    for column in data[: length * _LANES].reshape(_LANES, length).T:
        crcs = _TABLE[(crcs ^ column) & 0xFF] ^ (crcs >> 8)
    while len(crcs) > 1:
        crcs = _with_zeros(crcs[::2], length) ^ crcs[1::2]
        length *= 2
    return _continued(int(crcs[0]), data[length:]) ^ 0xFFFFFFFF


def _continued(crc: int, data: np.ndarray) -> int:
    table = _TABLE.tolist()
    for byte in data.tolist():
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _with_zeros(crcs: np.ndarray, num_zeros: int) -> np.ndarray:
    """Return checksums [n] of the same bytes with `num_zeros` zeros after them: a linear map of their bits, by
    squaring."""
    image = np.uint32(1) << np.arange(32, dtype=np.uint32)  # of each bit
    image = _TABLE[image & 0xFF] ^ (image >> 8)  # after one byte
    while num_zeros:
        if num_zeros & 1:
            crcs = _map(crcs, image)
        image, num_zeros = _map(image, image), num_zeros >> 1
    return crcs


def _map(crcs: np.ndarray, image: np.ndarray) -> np.ndarray:
    bits = (crcs[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(bits * image, axis=1)


def _masked(crc: int) -> int:
    """Return a checksum as LevelDB stores it, so that one of data that holds checksums is not odd."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _make_table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


_TABLE = _make_table()
"""A byte → its effect on a checksum."""
