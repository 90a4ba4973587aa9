"""The tensors of a Hugging Face folder: model.safetensors, or several files with an index."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bertsmith.errors import UserError, quoted
from bertsmith.hub.finite import to_float32
from bertsmith.hub.replaceable import SIGNED, WEIGHTS
from bertsmith.storage.json_files import json_value, member, read_json

FLOATS = ("F64", "F32", "F16", "BF16")
"""safetensors' names of the types that weights are read from; those of eight bits and fewer are quantized."""

_LFS = b"version https://git-lfs"
_FRAMEWORKS = (None, "pt", "mlx")
"""Frameworks in the metadata; TensorFlow's and Flax's files hold their matrices transposed."""


class Stored(NamedTuple):
    """A tensor that is in a file, unread."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


def find_tensors(folder: Path, architecture: str) -> dict[str, Stored]:
    """Return all tensors of the folder by their names there; nothing but the files' headers is read.

    Args:
        architecture: the class of transformers that could convert a pickle, for messages.

    Raises:
        UserError: there are none, or only in a pickle; a file is missing or damaged.
    """
    file, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if file.is_file():
        return _header(file)
    if index.is_file():
        return _find_in_shards(index)
    pickled = any((folder / name).is_file() for name in ("pytorch_model.bin", "pytorch_model.bin.index.json"))
    why = "its pytorch_model.bin is a pickle, which can run code" if pickled else "no weights"
    raise UserError(
        f"{folder}: no {WEIGHTS} ({why}); if you trust the folder, convert it: "
        f'transformers.{architecture}.from_pretrained("{folder}").save_pretrained("NEW_FOLDER")'
    )


def read_tensors(stored: Mapping[str, Stored], names: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of these `names`, of floats, as float32. Raises UserError where a file is damaged, or a number
    is not finite."""
    tensors: dict[str, Tensor] = {}
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(stored[name].file, []).append(name)
    for path, group in by_file.items():
        with _opened(path) as file:
            for name in group:
                tensors[name] = to_float32(name, file.get_tensor(name), path)
    return tensors


def serialized(tensors: Mapping[str, Tensor]) -> tuple[bytes, memoryview]:
    """Return header and body of a safetensors file, signed, and the same bytes for the same tensors: the library writes
    the entries of the metadata in an order that changes."""
    content = memoryview(safetensors.torch.save(dict(tensors), metadata=SIGNED))
    size = int.from_bytes(content[:8], "little")
    header = json_value(bytes(content[8 : 8 + size]))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, content[8 + size :]


def _find_in_shards(index: Path) -> dict[str, Stored]:
    """Return the tensors of a model in several files, which the index names one by one."""
    places = member(read_json(index, dict), "weight_map", dict, str(index))
    for name in places.values():
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
            raise UserError(f"{index}: names {quoted(name, 80)}, which is no file of this folder; fetch it again")
    files = sorted(set(places.values()))
    if missing := [name for name in files if not (index.parent / name).is_file()]:
        raise UserError(f"{index.parent / missing[0]}: no such file, and {index.name} names it; fetch it again")
    tensors: dict[str, Stored] = {}
    for name in files:
        header = _header(index.parent / name)
        for tensor, stored in header.items():
            if tensor in tensors or places.get(tensor) != name:
                where = f"also in {tensors[tensor].file.name}" if tensor in tensors else "not there by its index"
                raise UserError(f"{index.parent / name}: {quoted(tensor, 80)} is {where}; fetch them again")
            tensors[tensor] = stored
    if missing := sorted(places.keys() - tensors.keys()):
        raise UserError(f"{index}: {quoted(missing[0], 80)} is in none of its files; fetch them again")
    return tensors


def _header(path: Path) -> dict[str, Stored]:
    with _opened(path) as file:
        written_by = (file.metadata() or {}).get("format")
        if written_by not in _FRAMEWORKS:
            raise UserError(
                f"{path}: written by {quoted(written_by, 40)}, whose tensors are laid out otherwise; save it with "
                f"PyTorch's classes of transformers"
            )
        tensors = {}
        for name in file.keys():  # noqa: SIM118 - no mapping
            part = file.get_slice(name)
            tensors[name] = Stored(str(part.get_dtype()), tuple(part.get_shape()), path)
        return tensors


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; whatever the library raises about it is a `UserError`, a panic too."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        known = isinstance(error, SafetensorError | OSError | ValueError | RuntimeError | TypeError | MemoryError)
        if not known and type(error).__name__ != "PanicException":
            raise
        fault = f"damaged or not a safetensors file ({quoted(str(error), 120)[1:-1]}); fetch it again"
        with contextlib.suppress(OSError), path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                fault = "a pointer of Git LFS and not the weights; fetch them with `git lfs pull`"
        raise UserError(f"{path}: {fault}") from None
