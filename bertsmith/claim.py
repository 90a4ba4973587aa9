"""Whose a run's folder is: claimed for what the run is, refused to another run, cleared when that is asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config import as_written_now, differences
from bertsmith.errors import UserError
from bertsmith.files import reported
from bertsmith.manifests import read_manifest, refuse_foreign

MOST_NAMED = 4
"""Differences in a message."""


class Kind(NamedTuple):
    """A kind of folder."""

    name: str
    """As its manifest has it."""
    contents: tuple[str, ...]
    """What is made in it besides the manifest, and cleared with it."""
    described: tuple[str, ...] = ()
    """What is written anew at each command."""


def never(theirs: dict[str, Any], mine: dict[str, Any]) -> bool:
    """For `claim`: no other run's folder is taken over."""
    return False


def claim(
    folder: Path,
    kind: Kind,
    mine: dict[str, Any],
    settings: Any,
    overwrite: bool = False,
    takes_over: Callable[[dict[str, Any], dict[str, Any]], bool] = never,
) -> dict[str, Any]:
    """Check that `folder` is of the run that `mine` tells from others, or of none yet; returns its manifest, {} where
    there is none.

    Args:
        mine: the run's identity; its manifest keeps it under "identity".
        settings: what the identity is of, for the defaults of those that an older manifest lacks.
        overwrite: remove what such a run has made, and nothing of anybody else's.
        takes_over: asked about the manifest and `mine` where the two differ.

    Raises:
        UserError: it is of another kind, or of another run (what differs is named), or has contents without a manifest.
    """
    if not (folder / "manifest.json").exists():
        for name in (*kind.contents, *(() if overwrite else kind.described)):
            if (folder / name).exists():
                raise UserError(
                    f"{folder}: has {name}, and no manifest.json to say that we wrote it; move it away, or choose "
                    f"another --out"
                )
        return {}
    if overwrite:
        _clear(folder, kind)
        return {}
    manifest = read_manifest(folder, kind.name)
    manifest["identity"] = as_written_now(manifest.get("identity", {}), mine, settings)
    changed = differences(manifest["identity"], mine)
    if changed and not takes_over(manifest, mine):
        which = "search" if kind.name == "search" else "run"
        raise UserError(
            f"{folder}: belongs to another {which} ({_named(changed)}); choose another --out or --overwrite"
        )
    return manifest


def _named(changed: list[str]) -> str:
    """The first few, hashes cut short."""
    few = changed[:MOST_NAMED]
    return "; ".join(line if len(line) < 80 else f"{line.partition(':')[0]}: another one" for line in few)


def _clear(folder: Path, kind: Kind) -> None:
    refuse_foreign(folder, kind.name)
    with reported(folder):
        for name in (*kind.contents, "manifest.json"):  # which says to the end whose the rest is
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
