"""Refusals of folders that hold something else than what is made in them."""

from collections import Counter
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError
from bertsmith.storage.files import TEMPORARY
from bertsmith.storage.folders import differences
from bertsmith.storage.manifests import read_manifest

JOURNAL_FILE = "journal.jsonl"
"""In a folder that is being made."""


def refuse_other_type(folder: Path, type_name: str) -> None:
    """Raise UserError if there is something in `folder` and it is not a folder of this type."""
    if (folder / "manifest.json").exists():
        read_manifest(folder, type_name)
        return
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.suffix != TEMPORARY:
            raise UserError(f"{folder}: not a {type_name} folder, there is {path.name} in it; choose another --out")


def refuse_other_identity(folder: Path | str, before: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise UserError if the folder's identity is another one; the settings that differ are named."""
    if found := differences(before, identity):
        raise UserError(
            f"{folder}: made with other settings; choose another --out, or --overwrite it\n{'; '.join(found)}"
        )


def skipped_line(skipped: Counter[str]) -> str:
    """Write "2 empty, 1 not UTF-8": documents by the reason why they were skipped."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))


def no_document_line(name: str, skipped: Counter[str]) -> str:
    """Write that one of several corpora has no text, and why."""
    return f"{name}: no usable document ({skipped_line(skipped) or 'it is empty'}); check its path, layout and field"
