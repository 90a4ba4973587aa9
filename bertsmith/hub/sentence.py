"""The files by which sentence-transformers pools an encoder's vectors: read, checked against the encoder, written.

modules.json names the library's modules in their order: a Transformer, which is the encoder itself, then Pooling, then
any number of Normalize and Dense. Such a chain is carried over from end to end or not at all. Written folders have
names of ours; those in modules.json are only read from.

Source: sentence-transformers 6.2, base/model.py, base/modules/ and sentence_transformer/modules/pooling.py.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from bertsmith.encoders.config import EncoderConfig
from bertsmith.errors import UserError, quoted
from bertsmith.hub.replaceable import DENSE, ENCODER, LIBRARY, MAX_MODULES, MODULES, POOLING, WEIGHTS
from bertsmith.hub.sentence_checks import (
    POOLING_FLAGS,
    NotCarried,
    check_dense,
    check_encoder,
    check_library,
    check_normalize,
    pooling_modes,
)
from bertsmith.hub.tensors import FLOATS, find_tensors, read_tensors, serialized
from bertsmith.storage.files import atomic_write
from bertsmith.storage.json_files import check_shape, member, read_json, write_json

MAX_BYTES = 4 << 20
"""Of each of these files."""

KEPT = "sentence_transformers"
"""The key of a run's manifest under which `after_training` is kept."""

_KINDS = re.compile(r"sentence_transformers(?:\.[a-z_]+)+\.(Transformer|Pooling|Normalize|Dense)")
"""Classes, by the paths that versions 2 to 6 give them."""

_TYPES = "sentence_transformers.models"
"""The path that all of them read."""


@dataclass(frozen=True)
class SentenceModules:
    """The modules after an encoder, and the length at which texts are cut before it."""

    contents: dict[str, Any]
    """Name of each JSON file → its content."""
    steps: str
    """For people, as "mean pooling, Normalize"."""
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Name of each file of weights → its tensors."""

    @property
    def max_length(self) -> int:
        """Tokens at which the library cuts a text."""
        return self.contents[ENCODER]["max_seq_length"]

    @property
    def description(self) -> str:
        return f"{self.steps}, at most {self.max_length} tokens"

    def cut_at(self, length: int | None) -> "SentenceModules":
        """Return the same for an encoder of rows of at most `length`."""
        shorter = self.contents[ENCODER] | {"max_seq_length": min(self.max_length, length or self.max_length)}
        return replace(self, contents=self.contents | {ENCODER: shorter})

    def write(self, folder: Path) -> None:
        for name, content in self.contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(folder / name, content)
        for name, tensors in self.weights.items():
            with atomic_write(folder / name) as file:
                file.writelines(serialized(tensors))


def encoder_folder(folder: Path) -> Path | None:
    """Return the folder of a sentence-transformers model's encoder; None without a modules.json. Raises UserError where
    modules.json is damaged, or names a place outside of the folder."""
    if not os.path.lexists(folder / MODULES):
        return None
    first, *_ = _entries(folder)
    return _inside(folder, first["path"])


def read_modules(folder: Path, encoder: Path, settings: EncoderConfig) -> tuple[SentenceModules | None, str | None]:
    """Return the modules that follow an encoder; without them None, and why they are not carried over if there are any.

    Args:
        folder: in which modules.json would be.
        encoder: in which the encoder's own files are.

    Raises:
        UserError: a file is damaged, does not fit the encoder, or is named outside of the folder.
    """
    if not os.path.lexists(folder / MODULES):
        return None, None
    entries = _entries(folder)
    places = [_inside(folder, entry["path"]) for entry in entries]
    contents: dict[str, Any] = {MODULES: [], ENCODER: _optional(places[0] / ENCODER), LIBRARY: None}
    where = {ENCODER: str(places[0] / ENCODER)}
    dense: dict[str, Path] = {}
    try:
        if len(entries) < 2:
            raise NotCarried("modules.json has no Pooling after the encoder")
        if places[0] != encoder:
            raise NotCarried(f"modules.json has the encoder in {entries[0]['path'] or 'the folder itself'}")
        for number, (entry, place) in enumerate(zip(entries, places, strict=True)):
            kind = _kind(entry, number)
            module_folder = f"{number}_{kind}" if number else ""
            contents[MODULES].append({"idx": number, "name": str(number), "path": module_folder, "type": entry["type"]})
            if number and (kind != "Normalize" or (place != folder and (place / "config.json").is_file())):
                contents[f"{module_folder}/config.json"] = read_json(place / "config.json", dict, MAX_BYTES)
                where[f"{module_folder}/config.json"] = str(place / "config.json")
            if kind == "Dense":
                dense[f"{module_folder}/{WEIGHTS}"] = place
        contents[LIBRARY] = _optional(folder / LIBRARY)
        if contents[ENCODER].get("max_seq_length") is None:
            contents[ENCODER]["max_seq_length"] = _tokenizers_length(encoder, settings.max_position_embeddings)
        checked = _checked(contents, settings, where | {LIBRARY: str(folder / LIBRARY)})
        weights = {name: _dense_weights(place, contents, name) for name, place in dense.items()}
    except NotCarried as reason:
        return None, str(reason)
    return SentenceModules(checked.contents, checked.steps, weights), None


def new_modules(pooling: str, normalize: bool, settings: EncoderConfig, length: int) -> SentenceModules:
    """Return modules that pool an encoder's vectors: "mean" or "cls", and Normalize after it if wanted; texts are cut
    at `length` tokens."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    chain = [
        {"idx": number, "name": str(number), "path": f"{number}_{kind}" if number else "", "type": f"{_TYPES}.{kind}"}
        for number, kind in enumerate(kinds)
    ]
    flags = {key: mode == pooling for key, mode in POOLING_FLAGS.items()}
    contents = {
        MODULES: chain,
        ENCODER: {"max_seq_length": length, "do_lower_case": False},
        LIBRARY: {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        POOLING: {"word_embedding_dimension": settings.hidden_size, **flags},
    }
    return _checked(contents, settings, {name: name for name in contents})


def after_training(modules: SentenceModules) -> tuple[dict[str, Any] | None, str]:
    """Return the modules' files for the manifest of a run that trains their encoder further, None where they no longer
    fit; and a line about it."""
    if modules.weights:
        name = min(modules.weights).partition("/")[0]
        return None, f"left out: sentence-transformers' files: {name} was trained on the encoder's vectors as they were"
    library = {key: value for key, value in modules.contents[LIBRARY].items() if key != "__version__"}
    return modules.contents | {LIBRARY: library}, f"kept for an export: sentence-transformers' {modules.description}"


def kept_modules(contents: Any, settings: EncoderConfig, where: str) -> SentenceModules | None:
    """Return the modules that `after_training` gave; None where there are none.

    Args:
        contents: what the manifest has of them.
        where: what a message calls that place.

    Raises:
        UserError: it is damaged.
    """
    if contents is None:
        return None
    check_shape(contents, {MODULES: [{"path": str, "type": str}], ENCODER: dict, LIBRARY: dict}, where)
    try:
        if len(contents[MODULES]) < 2:
            raise NotCarried("it has no Pooling")
        kinds = [_kind(entry, number) for number, entry in enumerate(contents[MODULES])]
        paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
        names = {MODULES, ENCODER, LIBRARY, *(f"{path}/config.json" for path in paths[1:])}
        if [entry["path"] for entry in contents[MODULES]] != paths or contents.keys() - names or "Dense" in kinds:
            raise NotCarried("its files are not those that modules.json names")
        return _checked(contents, settings, dict.fromkeys(names, where))
    except NotCarried as reason:
        raise UserError(f"{where}: damaged ({reason})") from None


def _entries(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES
    entries = read_json(path, list, MAX_BYTES)
    check_shape(entries, [{"path": str, "type": str, "kwargs?": list}], str(path), "modules")
    if not entries:
        raise UserError(f"{path}: names no module; fetch it again")
    for entry in entries:  # all of them before any is read
        _inside(folder, entry["path"])
    return entries


def _inside(folder: Path, path: str) -> Path:
    """Return the folder of a module, which is not outside of `folder`, nor behind a link."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or re.search(r"[\\\0]", path):
        raise UserError(f"{folder / MODULES}: names {quoted(path, 80)}, which is no folder in this one; fetch it again")
    place = folder
    for part in pure.parts:
        place = place / part
        if place.is_symlink():
            raise UserError(f"{place}: a symbolic link where {MODULES} names a folder; put the folder itself there")
    return place


def _kind(entry: Mapping[str, Any], number: int) -> str:
    match = _KINDS.fullmatch(entry["type"])
    kind = str(match[1]) if match else ""
    expected = {0: ("Transformer",), 1: ("Pooling",)}.get(number, ("Normalize", "Dense"))
    if kind not in expected or entry.get("kwargs") or number > MAX_MODULES:
        place = f"the module {quoted(entry['type'], 80)} in place {number}"
        raise NotCarried(f"modules.json has {place}; a Transformer, Pooling, then Normalize and Dense are carried over")
    return kind


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path, dict, MAX_BYTES) if os.path.lexists(path) else {}


def _tokenizers_length(encoder: Path, longest: int) -> int:
    """Return the length at which the library cuts if its own files have none."""
    path = encoder / "tokenizer_config.json"
    given = member(_optional(path), "model_max_length", (int, float, type(None)), str(path), None)
    return min(int(given), longest) if given and given >= 1 else longest


def _checked(contents: dict[str, Any], settings: EncoderConfig, where: Mapping[str, str]) -> SentenceModules:
    """Return the modules in `contents`, after checking all but the order of the kinds."""
    check_library(contents[LIBRARY], where[LIBRARY])
    contents = contents | {ENCODER: check_encoder(contents[ENCODER], settings, where[ENCODER])}
    parts, width = [], settings.hidden_size
    for entry in contents[MODULES][1:]:
        name = f"{entry['path']}/config.json"
        if name == POOLING:
            if name not in contents:
                raise NotCarried(f"there is no {name}")
            modes = pooling_modes(contents[name], width, where[name])
            parts.append(f"{' and '.join(modes)} pooling")
            width *= len(modes)
        elif DENSE.fullmatch(name):
            width = check_dense(contents[name], width, where[name])
            parts.append(f"Dense to {width}")
        else:
            check_normalize(contents.get(name, {}), where.get(name, name))
            parts.append("Normalize")
    return SentenceModules(contents, ", ".join(parts))


def _dense_weights(place: Path, contents: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """Return the tensors of a Dense module, of the sizes in its config.json."""
    if not (place / WEIGHTS).is_file():
        if (place / "pytorch_model.bin").is_file():
            raise NotCarried(f"{place / 'pytorch_model.bin'} is a pickle, which can run code, and no {WEIGHTS}")
        raise UserError(f"{place / WEIGHTS}: no such file, and {MODULES} names the module; fetch it again")
    config = contents[name.replace(WEIGHTS, "config.json")]
    stored = find_tensors(place, "AutoModel")
    expected: dict[str, tuple[int, ...]] = {"linear.weight": (config["out_features"], config["in_features"])}
    if config.get("bias", True):
        expected["linear.bias"] = (config["out_features"],)
    shapes = {key: tensor.shape for key, tensor in stored.items()}
    if shapes != expected:
        key = min(key for key in shapes.keys() | expected.keys() if shapes.get(key) != expected.get(key))
        shape, asked = (str(list(of[key])) if key in of else "none" for of in (shapes, expected))
        raise UserError(
            f"{place / WEIGHTS}: {quoted(key, 60)} is {shape} where its config.json asks for {asked}; fetch both again"
        )
    if wrong := sorted(key for key, tensor in stored.items() if tensor.dtype not in FLOATS):
        raise UserError(
            f"{place / WEIGHTS}: {wrong[0]} is {stored[wrong[0]].dtype} where floats are needed; fetch it again"
        )
    return read_tensors(stored, expected)
