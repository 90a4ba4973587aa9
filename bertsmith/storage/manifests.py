"""A folder's manifest: the folder's type, the format's and the package's version, the names of our files in it, and
what it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith import __version__
from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import check_shape, read_json, write_json

FORMAT_VERSION = 1  # of run folders, data folders and checkpoints; raised when a reader of the older ones would misread

TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
"""Files of a tokenizer, in whatever folder."""

_NUMBER = (int, float, type(None))
_TASK = {
    "task?": str, "metrics?": [str], "examples?": {str: int}, "labels?": [str], "multi_label?": bool,
    "low?": _NUMBER, "high?": _NUMBER, "scored_on?": str,
}  # fmt: skip


class FolderType(NamedTuple):
    """A type of folder that bertsmith writes: what is made in it, and the shape of its manifest."""

    name: str
    files: tuple[str, ...] = ()
    """Files that are made in it besides the manifest, some in a folder of their own ("task/dev.jsonl")."""
    rewritten: tuple[str, ...] = ()  # further ones, which each command writes again
    members: Mapping[str, str] = {}  # folder in it → type of the folders in that one, each with a manifest of its own
    parts: Mapping[str, str] = {}
    """Folder in it → its own type. An "export" has no manifest: its files are listed in the outer one's."""
    content: Mapping[str, Any] = {}
    """The shape of its manifest, see `bertsmith.storage.json_files.check_shape`; other keys are allowed."""
    parted: tuple[str, ...] = ()
    """Those of its files that several processes may write in parts (`bertsmith.storage.parts`)."""

    @property
    def names(self) -> list[str]:
        """The names of files and folders in it; those of folders end with a slash."""
        return sorted([*self.files, *self.rewritten, *(f"{name}/" for name in (*self.members, *self.parts))])


_DATA = (*TOKENIZER, "journal.jsonl", "checked.json")  # its shards are named one by one, under "files"
_DATA_CONTENT = {
    "identity": dict, "files": {str: str}, "tokenizer": {"fingerprint": str, "vocab_size": int},
    "counts?": {str: int}, "shards": {str: [{"tokens": int, "lines": int, "documents": int}]},
    "corpora?": [
        {
            "name": str, "path": str, "files": int, "bytes": int, "weight?": (int, float), "parts": int,
            "counts": {str: int}, "skipped": {str: int}, "shards": {"train": int, "heldout": int},
        },
    ],
}  # fmt: skip

_TYPES = (
    FolderType("tokenizer", TOKENIZER, content={"identity": dict, "fingerprint?": str}),
    FolderType("data", _DATA, content=_DATA_CONTENT),
    FolderType(
        "data-part",
        _DATA,
        content=_DATA_CONTENT | {
            "part": [int], "units": {"train": [[int]], "heldout": [[int]]}, "counts": {str: int}, "skipped": {str: int},
            "corpus": {"path": str, "files": int, "bytes": int}, "bertsmith_version": str,
        },
    ),
    FolderType(
        "filtered",
        ("dropped.json",),  # its texts are named one by one, under "files"
        content={
            "identity": dict, "files": [str], "read": [int], "kept": [int], "dropped": {str: [int]},
            "lines": {str: int}, "skipped": {str: int},
        },
    ),
    FolderType(
        "checkpoint",
        ("model.safetensors", "optimizer.safetensors", "state.json"),
        parted=("model.safetensors", "optimizer.safetensors"),
        content={"files": {str: str}},
    ),
    FolderType(
        "pretrain",
        ("metrics.jsonl", "trackers.json"),
        ("recipe.toml", *TOKENIZER),
        members={"checkpoints": "checkpoint", "tensorboard": "events"},
        content={
            "identity?": dict, "finished": bool, "vocab_size": int, "measures?": {str: _NUMBER}, "environment": dict,
            "data": {"path": str, "tokens": {"train": int, "heldout": int}, "documents": int, "hash?": str},
            "tokenizer?": str, "threads?": [int], "machines?": [str], "events?": [str], "sentence_transformers?": dict,
            "initial?": str,
            "code?": [{"commit": (str, type(None)), "sha256": str}],
            "steps?": int, "tokens?": int, "seconds?": (int, float), "skipped_steps?": int,
            "branch?": {"of": str, "fingerprint": str, "begun": _NUMBER},
        },
    ),
    FolderType(
        "trial",
        (
            "results.json", "model.safetensors", "metrics.jsonl", "trackers.json", "predictions-dev.tsv",
            "predictions-dev_mismatched.tsv", "predictions-dev.txt", "eval.json", "preds.json", "null_odds.json",
        ),
        content={"files": {str: str}},
    ),
    FolderType(
        "finetune",
        ("results.json",),
        ("recipe.toml", *TOKENIZER),
        members={"trials": "trial"},
        content={
            **_TASK, "task": str, "metrics": [str], "identity?": dict, "finished": bool, "recipe?": dict,
            "encoder?": dict, "family?": str, "vocab_size?": int, "trained_length?": (int, type(None)),
            "learnt_before?": [str], "tokenizer?": str, "tasks?": {str: _TASK},
        },
    ),
    FolderType(
        "search",
        ("results.json",),
        members={"grid": "finetune"},
        content={"identity?": dict, "finished": bool, "recipe?": dict, "searched?": [str]},
    ),
    FolderType(
        "glue",
        ("results.json",),
        members={"tasks": "finetune"},
        parts={"mnli-model": "export"},
        content={
            "identity?": dict, "finished": bool, "settings": dict, "model": str, "mnli_seed?": (int, type(None)),
        },
    ),
    FolderType(
        "record",
        ("entry.json",),  # and copies of other folders' files, named one by one, under "files"
        parts={"run": "pretrain", "data": "data", "reference": "glue", "cramming": "glue"},
        content={"files": {str: str}},
    ),
    FolderType(
        "quickstart",
        ("corpus.jsonl", "task/train.jsonl", "task/dev.jsonl", "start.json", "report.html", "results.json"),
        parts={
            "vocab": "tokenizer", "data": "data", "bert": "pretrain", "pretrained": "finetune", "random": "finetune",
            "hf": "export",
        },
    ),
)  # fmt: skip

FOLDER_TYPES = {each.name: each for each in _TYPES}


def write_manifest(folder: Path, type_name: str, content: dict[str, Any]) -> None:
    """Mark `folder` as complete: write a `manifest.json` with its type, the format, the package version, and the names
    of what is made in such a folder, which is all that is ever removed from it."""
    head = {"kind": type_name, "format_version": FORMAT_VERSION, "bertsmith_version": __version__}
    names = {*(FOLDER_TYPES[type_name].names if type_name in FOLDER_TYPES else ()), *content.get("names", ())}
    write_json(folder / "manifest.json", head | content | ({"names": sorted(names)} if names else {}))


def read_manifest(folder: Path, type_name: str) -> dict[str, Any]:
    """Return the manifest of a finished folder of this type; raises UserError where there is none, it is of another
    type or a newer format, or it is damaged."""
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(f"{folder}: not a finished {type_name} folder (it has no manifest.json)")
    manifest = _read(path)
    if manifest.get("kind") != type_name:
        found = word(manifest.get("kind"))
        raise UserError(f"{folder}: a {found} folder where a {type_name} folder is needed")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: format {quoted(manifest.get('format_version'), 40)}, written by bertsmith "
            f"{word(manifest.get('bertsmith_version'))}; this is {__version__}, which reads format {FORMAT_VERSION}"
        )
    if type_name in FOLDER_TYPES:
        try:
            check_shape(manifest, {"names?": [str], **FOLDER_TYPES[type_name].content}, str(path))
        except UserError as error:
            raise UserError(f"{error}; make the folder again") from None
    return manifest


def folder_type(folder: Path, strict: bool = False) -> str | None:
    """Return the type of folder that the manifest names; None where there is no manifest of ours. With `strict` a
    damaged one raises UserError."""
    path = folder / "manifest.json"
    try:
        name = _read(path).get("kind") if path.exists() else None
    except UserError:
        if strict:
            raise
        return None
    return name if isinstance(name, str) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict)
    except UserError as error:
        reason = str(error).removeprefix(str(path)).lstrip(",: ").removesuffix("; write the file again")
        raise UserError(f"{path}: damaged ({reason}); make the folder again") from None


def word(value: object) -> str:
    """Return a word of a manifest as messages quote it."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 40 else "foreign"
