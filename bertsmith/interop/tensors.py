"""The tensors of a Hugging Face folder: model.safetensors, whole or in several files."""

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from bertsmith.errors import UserError
from bertsmith.interop.replaceable import WEIGHTS


def read_tensors(folder: Path, architecture: str) -> dict[str, Tensor]:
    """All tensors of the folder, under their names there.

    Args:
        architecture: the class of transformers that could convert a pickle, for what is said.

    Raises:
        UserError: there are none, or only in a pickle; a file is missing or damaged.
    """
    file, index = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
    if file.is_file():
        return _load_file(file)
    if index.is_file():
        return _read_shards(index)
    pickled = (folder / "pytorch_model.bin").is_file()
    why = "its pytorch_model.bin is a pickle, which can run code" if pickled else "no weights"
    raise UserError(
        f"{folder}: no {WEIGHTS} ({why}); if you trust the folder, convert it: "
        f'transformers.{architecture}.from_pretrained("{folder}").save_pretrained("NEW_FOLDER")'
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of a model in several files, which the index names one by one."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: cannot be read ({error}); fetch it again") from None
    for name in files:
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"{index}: names {name!r}, which is no file of this folder; fetch it again")
    read = [_load_file(index.parent / name) for name in files]
    tensors = {name: tensor for shard in read for name, tensor in shard.items()}
    if tensors.keys() != places.keys() or sum(map(len, read)) != len(places):
        wrong = min(tensors.keys() ^ places.keys(), default="a tensor that is there twice")
        raise UserError(f"{index}: it and its files do not agree on {wrong}; fetch them again")
    return tensors


def _load_file(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: damaged or not a safetensors file ({error}); fetch it again") from None
