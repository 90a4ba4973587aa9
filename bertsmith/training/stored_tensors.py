"""The tensors of a checkpoint as they lie on disk: in one safetensors file, or in one a rank, each with some rows of
every tensor. They are read when they are asked for, and no more rows of them than that."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bertsmith.errors import UserError, one_line, quoted
from bertsmith.storage.files import sha256_file
from bertsmith.training.ranks import ALONE, Ranks

FORMATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Formats of tensors by their names in such a file."""


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name, on the CPU: of several files the rows of each tensor in the files' order, and a tensor without
    dimensions from the first.

    A file is held to its hash before the first of it is given.

    Attributes:
        shapes: name → tensor without memory.
    """

    def __init__(self, files: Mapping[Path, str], are_verified: bool = False):
        """Read the headers of `files`, each with its hash; `are_verified`: they have been held to these.

        Raises:
            UserError: one is damaged, or they do not fit together.
        """
        self._hashes = dict(files)
        self._unverified = set() if are_verified else set(files)
        self._files: dict[Path, Any] = {}
        self._pieces: dict[str, list[tuple[Path, tuple[int, ...]]]] = {}
        self.shapes: dict[str, Tensor] = {}
        for path in files:
            self._read_header(path)
        for name, pieces in self._pieces.items():
            if len(self.shapes[name].shape) and len(pieces) != len(files):
                raise UserError(f"{pieces[-1][0]}: damaged (of {quoted(name, 100)} another file has no rows)")

    def _read_header(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open  # here: the room imports with torch and numpy alone

        is_first = not self._files
        try:
            file: Any = safe_open(path, framework="pt")
            self._files[path] = file
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged ({one_line(error)})") from None
        for name, header in headers.items():
            shape, dtype = tuple(header.get_shape()), FORMATS.get(header.get_dtype())
            if dtype is None:
                raise UserError(f"{path}: damaged ({quoted(name, 100)} is of format {header.get_dtype()})")
            before = self.shapes.get(name, torch.empty((0, *shape[1:]), dtype=dtype, device="meta"))
            if not is_first and (before.shape[1:] != shape[1:] or before.dtype != dtype or not shape):
                raise UserError(f"{path}: damaged ({quoted(name, 100)} is not as in the files before it)")
            rows = (len(before) + shape[0],) if shape else ()
            self.shapes[name] = torch.empty((*rows, *shape[1:]), dtype=dtype, device="meta")
            self._pieces.setdefault(name, []).append((path, shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, name: str) -> Tensor:
        return self.read(name)

    def read(self, name: str, dealt: Ranks = ALONE) -> Tensor:
        """Return the rows of a tensor that are this rank's, where they are `dealt` to ranks.

        Raises:
            UserError: the file is not the one that was written.
        """
        shape = self.shapes[name].shape
        if not shape or len(self._files) == dealt.size == 1:
            return self._read_all(self._pieces[name][0][0], name)
        own, start, found = dealt.rows(shape[0]), 0, []
        for path, (num_rows, *_) in self._pieces[name]:
            first, last = max(own.start, start) - start, min(own.stop, start + num_rows) - start
            if first < last:
                whole = (first, last) == (0, num_rows)
                found.append(self._read_all(path, name) if whole else self._file(path).get_slice(name)[first:last])
            start += num_rows
        if len(found) == 1:
            return found[0]
        return torch.cat(found) if found else torch.empty((0, *shape[1:]), dtype=self.shapes[name].dtype)

    def read_all(self, dealt: Ranks = ALONE) -> dict[str, Tensor]:
        """Return all tensors; see `read`."""
        return {name: self.read(name, dealt) for name in self.shapes}

    def shapes_of(self, dealt: Ranks) -> dict[str, Tensor]:
        """Return the shapes of what `read` returns, as tensors without memory."""
        if dealt.size == 1:
            return self.shapes
        return {
            name: tensor[dealt.rows(len(tensor))] if tensor.ndim else tensor for name, tensor in self.shapes.items()
        }

    def _read_all(self, path: Path, name: str) -> Tensor:
        tensor: Tensor = self._file(path).get_tensor(name)
        return tensor

    def _file(self, path: Path) -> Any:
        if path in self._unverified:
            check_hash(path, self._hashes[path])
            self._unverified.discard(path)
        return self._files[path]


def check_hash(path: Path, expected: str | None) -> None:
    """Raise UserError where a file is not the one that was written."""
    try:
        if sha256_file(path) == expected:
            return
    except OSError:
        pass
    raise UserError(f"{path}: damaged (its hash is not the one in manifest.json)")
