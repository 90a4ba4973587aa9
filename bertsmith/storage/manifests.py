"""A folder's manifest: its kind, the format's and the package's version, which names in the folder are ours, and what
it holds."""

from pathlib import Path
from typing import Any

from bertsmith import __version__
from bertsmith.errors import UserError, quoted
from bertsmith.storage.folder_kinds import KINDS
from bertsmith.storage.json_files import check_shape, read_json, write_json

FORMAT_VERSION = 1
"""Of run folders, data folders and checkpoints; raised when a reader of the older ones would misread."""


def write_manifest(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Declare `folder` whole: a `manifest.json` that names its kind, the format, the package version, and what is made
    in such a folder, which is all that is ever removed from it."""
    head = {"kind": kind, "format_version": FORMAT_VERSION, "bertsmith_version": __version__}
    names = {*(KINDS[kind].names if kind in KINDS else ()), *content.get("names", ())}
    write_json(folder / "manifest.json", head | content | ({"names": sorted(names)} if names else {}))


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read the manifest of a whole folder of this `kind`.

    Raises:
        UserError: there is none, it is of another kind, or of a format newer than this version reads; or it is damaged.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise UserError(f"{folder}: not a finished {kind} folder (it has no manifest.json)")
    manifest = _read(path)
    if manifest.get("kind") != kind:
        found = word(manifest.get("kind"))
        raise UserError(f"{folder}: a {found} folder where a {kind} folder is needed")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: format {quoted(manifest.get('format_version'), 40)}, written by bertsmith "
            f"{word(manifest.get('bertsmith_version'))}; this is {__version__}, which reads format {FORMAT_VERSION}"
        )
    if kind in KINDS:
        try:
            check_shape(manifest, {"names?": [str], **KINDS[kind].content}, str(path))
        except UserError as error:
            raise UserError(f"{error}; make the folder again") from None
    return manifest


def kind_of(folder: Path) -> str | None:
    """Return the kind that the manifest names; None where there is no such manifest, or a damaged one."""
    try:
        return known_kind(folder)
    except UserError:
        return None


def known_kind(folder: Path) -> str | None:
    """Return the kind that the manifest names; None where there is no manifest, or one that is not ours.

    Raises:
        UserError: it is damaged, so that nobody knows what the folder is.
    """
    path = folder / "manifest.json"
    kind = _read(path).get("kind") if path.exists() else None
    return kind if isinstance(kind, str) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict)
    except UserError as error:
        reason = str(error).removeprefix(str(path)).lstrip(",: ").removesuffix("; write the file again")
        raise UserError(f"{path}: damaged ({reason}); make the folder again") from None


def word(value: object) -> str:
    """Return a word out of a manifest, as a message has it."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 40 else "foreign"
