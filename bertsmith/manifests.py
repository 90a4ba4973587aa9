"""A folder's manifest: its kind, the format's and the package's version, and what the folder holds."""

from pathlib import Path
from typing import Any

from bertsmith import __version__
from bertsmith.errors import UserError
from bertsmith.json_files import read_json, write_json

FORMAT_VERSION = 1
"""Of run folders, data folders and checkpoints; raised when a reader of the older ones would misread."""


def write_manifest(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Declare `folder` whole: a `manifest.json` that names its kind, the format and the package version."""
    head = {"kind": kind, "format_version": FORMAT_VERSION, "bertsmith_version": __version__}
    write_json(folder / "manifest.json", head | content)


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of a whole folder of this `kind`.

    Raises:
        UserError: there is none, it is of another kind, or of a format newer than this version reads.
    """
    path = folder / "manifest.json"
    try:
        manifest = read_json(path, dict)
    except UserError as error:
        if not path.exists():
            raise UserError(f"{folder}: not a finished {kind} folder (it has no manifest.json)") from None
        raise UserError(str(error).replace("write the file again", "make the folder again")) from None
    if manifest.get("kind") != kind:
        found = manifest.get("kind")
        raise UserError(f"{folder}: a {found or 'foreign'} folder where a {kind} folder is needed")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: format {manifest.get('format_version')}, written by bertsmith "
            f"{manifest.get('bertsmith_version')}; this is {__version__}, which reads format {FORMAT_VERSION}"
        )
    return manifest


def kind_of(folder: Path) -> str | None:
    """The kind that the manifest names; None where there is no such manifest, or a damaged one."""
    try:
        kind = read_json(folder / "manifest.json", dict).get("kind")
    except UserError:
        return None
    return kind if isinstance(kind, str) else None


def refuse_foreign(folder: Path, kind: str) -> None:
    """Raises UserError where `folder` is another kind's: `--overwrite` must not clear it away."""
    try:
        found = read_json(folder / "manifest.json", dict).get("kind")
    except UserError:
        return  # none, or a damaged one: nothing that says it is someone else's
    if found != kind:
        raise UserError(f"{folder}: a {found or 'foreign'} folder, not a {kind} one; choose another --out")
