"""Who may write in a folder: a run's folder is opened for that run, refused to another one, cleared on request.

Only files that a manifest of ours names are removed; other files are kept.
"""

import contextlib
import functools
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from bertsmith.errors import UserError, quoted
from bertsmith.storage.files import TEMPORARY, remove_tree, reported, temporary_of
from bertsmith.storage.manifests import FOLDER_TYPES, FolderType, folder_type, read_manifest, word, write_manifest
from bertsmith.storage.parts import is_part

Returned = TypeVar("Returned")

MAX_DIFFERENCES = 4  # in a message
EARLIER_TEMPORARY = ".partial"  # suffix that version 0.1.0 gave checkpoints and trials while it wrote them

FIRST_KEYS = ("kind", "model", "protocol", "from_mnli")
"""Last parts of the keys that decide others; a message names them first."""


def open_run_folder(
    folder: Path,
    expected: FolderType,
    identity: dict[str, Any],
    defaults: dict[str, Any],
    overwrite: bool = False,
    may_extend: Callable[[dict[str, Any], dict[str, Any]], bool] | None = None,
) -> dict[str, Any]:
    """Check that `folder` holds the run of this identity, or none yet, and return its manifest, {} where there is none.

    Args:
        identity: setting → value, which distinguishes the run from others; its manifest keeps it under "identity".
        defaults: of the settings in it, for those that an older manifest lacks.
        overwrite: remove the files of such a run, and no others.
        may_extend: returns whether the run may go on in the folder of a manifest with another identity.

    Raises:
        UserError: it is of another type, or of another run (the differences are named), or has contents without a
            manifest; its manifest is damaged.
    """
    if not os.path.lexists(folder / "manifest.json"):
        for name in (*expected.files, *expected.members, *expected.parts, *expected.rewritten):
            if os.path.lexists(folder / name):
                raise UserError(
                    f"{folder}: has {name}, and no manifest.json to say that we wrote it; move it away, or choose "
                    f"another --out"
                )
        return {}
    if overwrite:
        clear(folder, expected)
        return {}
    manifest = read_own(folder, expected)
    manifest["identity"] = as_written_now(manifest.get("identity", {}), identity, defaults)
    changed = differences(manifest["identity"], identity)
    if changed and not (may_extend and may_extend(manifest, identity)):
        which = "search" if expected.name == "search" else "run"
        raise UserError(
            f"{folder}: belongs to another {which} ({_named(changed)}); choose another --out or --overwrite"
        )
    return manifest


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return lines "key: before → after" for two identities (or two results of `json.loads` of one)."""
    before, after = (_by_key(json.loads(json.dumps(side))) for side in (before, after))
    keys = sorted(before.keys() | after.keys(), key=lambda key: (key.rpartition(".")[2] not in FIRST_KEYS, key))
    return [f"{key}: {_change(before.get(key), after.get(key))}" for key in keys if before.get(key) != after.get(key)]


def _by_key(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with those of a table of numbers, as weights={web=0.7}, by keys of their own."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        is_table = isinstance(value, dict) and value and all(isinstance(each, int | float) for each in value.values())
        found |= {f"{key}.{name}": each for name, each in value.items()} if is_table else {key: value}
    return found


def _change(before: Any, after: Any) -> str:
    """Write "before → after", numbers to six digits where that tells them apart."""
    short = [float(f"{value:.6g}") if isinstance(value, float) else value for value in (before, after)]
    return " → ".join(map(quoted, (before, after) if short[0] == short[1] else short))


def as_written_now(before: dict[str, Any], after: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the identity `before` with the defaults of those keys of `after` that had no setting when it was written,
    and without settings of other kinds, which earlier versions wrote too."""
    settings = {key: defaults[key] for key in after if key in defaults}
    return settings | {key: value for key, value in before.items() if key in after or key not in defaults}


def clear(folder: Path, expected: FolderType) -> None:
    """Remove what the manifest of `folder` names, and the manifest last: if this is cut short, it still says whose the
    rest is. Links are removed and never followed; other files are kept. Raises UserError where there is no such
    manifest."""
    found = folder_type(folder)
    if found not in (None, expected.name):
        raise UserError(f"{folder}: a {word(found)} folder, not a {expected.name} one; choose another --out")
    manifest = read_own(folder, expected)
    with reported(folder):
        if manifest.get("finished"):
            write_manifest(folder, expected.name, manifest | {"finished": False})
        for name, inner in expected.members.items():
            if _is_folder(folder / name):
                _clear_members(folder / name, inner, manifest)
        for name, inner in expected.parts.items():
            if inner in FOLDER_TYPES and _is_folder(folder / name) and folder_type(folder / name) == inner:
                clear(folder / name, FOLDER_TYPES[inner])
                _remove_folder(folder / name, (".lock",))
        remove_names(folder, [*manifest.get("names", expected.names), *manifest.get("files", ())])
        (folder / "manifest.json").unlink(missing_ok=True)


def remove_names(folder: Path, names: Iterable[str]) -> None:
    """Remove files of these relative names, and what was being written under them; then folders that this leaves
    empty."""
    outer = set()
    for name in names:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts or "\0" in name:
            continue  # a name that no manifest of ours has
        place, parents = folder / inside, [folder / parent for parent in inside.parents if parent.parts]
        if any(parent.is_symlink() for parent in parents):
            continue
        outer |= {*parents, *([place] if name.endswith("/") else [])}
        for path in (place, temporary_of(place)):
            if path.is_symlink() or not path.is_dir():
                with contextlib.suppress(NotADirectoryError):
                    path.unlink(missing_ok=True)
    for path in sorted(outer, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # somebody else's files are in it
            path.rmdir()


def no_empty_folder(function: Callable[..., Returned]) -> Callable[..., Returned]:
    """Wrap a function that makes and locks the folder `out`, as `leaving_no_empty_folder` does."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Returned:
        out = signature.bind(*args, **options).arguments.get("out")
        with contextlib.nullcontext() if out is None else leaving_no_empty_folder(Path(out)):
            return function(*args, **options)

    return run


@contextlib.contextmanager
def leaving_no_empty_folder(path: Path) -> Iterator[None]:
    """Remove new folders that hold nothing, where a block that makes and locks the folder `path` ends in an error; and
    its lock, where only that is new."""
    new = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    before = set(os.listdir(path)) if _is_folder(path) else set()
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            if set(os.listdir(path)) - before == {".lock"}:
                (path / ".lock").unlink()
        for folder in new:
            with contextlib.suppress(OSError):  # it was not made, or holds something
                folder.rmdir()
        raise


def number_of(name: str, prefix: str, width: int = 1) -> int | None:
    """Return the number in a name that we have given, such as "step-00000100"; None where it is not exactly one."""
    digits = name.removeprefix(prefix)
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        return None
    return int(digits) if name == f"{prefix}{int(digits):0{width}d}" else None


def numbered_folders(folder: Path, prefix: str, width: int = 1) -> dict[int, Path]:
    """Return number → folder of those in `folder` that we have numbered, in order; links are left out."""
    names = os.listdir(folder) if _is_folder(folder) else []
    numbers = sorted(number for name in names if (number := number_of(name, prefix, width)) is not None)
    paths = {number: folder / f"{prefix}{number:0{width}d}" for number in numbers}
    return {number: path for number, path in paths.items() if _is_folder(path)}


def checkpoint_folders(run: Path) -> dict[int, Path]:
    """Return step → folder of a run's checkpoints, unread, the newest last."""
    return numbered_folders(run / "checkpoints", "step-", 8)


def remove_unfinished(folder: Path, prefix: str, width: int = 1) -> None:
    """Remove what killed writers of numbered folders have left in `folder`."""
    if not _is_folder(folder):
        return
    for path in sorted(folder.iterdir()):
        for ending in (TEMPORARY, EARLIER_TEMPORARY):
            name = path.name.removesuffix(ending).removesuffix(".old")
            if path.name.endswith(ending) and number_of(name, prefix, width) is not None:
                with reported(path):
                    remove_tree(path)


def remove_member(path: Path, expected: FolderType) -> None:
    """Remove a folder in one of ours: what its manifest names, or, where that is damaged or missing, what a folder of
    this type holds. Other files are kept, with the folder."""
    there = os.listdir(path) if _is_folder(path) else []
    parts = [other for other in there if any(is_part(other, name) for name in expected.parted)]
    names: Iterable[str] = [*expected.files, *parts]
    with contextlib.suppress(UserError):
        manifest = read_manifest(path, expected.name)
        names = {*manifest.get("names", expected.names), *manifest.get("files", ())}
    with reported(path):
        _remove_folder(path, [*names, "manifest.json"])


def _clear_members(folder: Path, type_name: str, manifest: dict[str, Any]) -> None:
    """Remove the members of one folder of those of ours."""
    if type_name == "events":  # of TensorBoard, which the manifest lists by name
        remove_names(folder, [name for name in manifest.get("events", ()) if "/" not in name])
    elif type_name in ("checkpoint", "trial"):
        prefix, width = ("step-", 8) if type_name == "checkpoint" else ("seed-", 1)
        remove_unfinished(folder, prefix, width)
        for path in numbered_folders(folder, prefix, width).values():
            for task in manifest.get("tasks", ()):  # trials of before they had a manifest
                if "/" not in task and folder_type(path) is None and _is_folder(path / task):
                    remove_names(path, [f"{task}/{name}" for name in FOLDER_TYPES[type_name].files])
            remove_member(path, FOLDER_TYPES[type_name])
    else:
        for path in sorted(folder.iterdir()):
            if _is_folder(path) and folder_type(path) == type_name:
                clear(path, FOLDER_TYPES[type_name])
                _remove_folder(path, (".lock",))
    _remove_folder(folder, ())


def _remove_folder(folder: Path, names: Iterable[str]) -> None:
    """Remove these files, and the folder if nothing else is in it."""
    remove_names(folder, names)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def read_own(folder: Path, expected: FolderType) -> dict[str, Any]:
    """Return the manifest of a folder that is to be written in. Raises UserError where there is none of this type."""
    try:
        return read_manifest(folder, expected.name)
    except UserError as error:
        if folder_type(folder) is not None:
            raise
        raise UserError(
            f"{str(error).removesuffix('; make the folder again')}\nNothing else says what of the folder is ours: "
            f"choose another --out, or remove {folder} yourself"
        ) from None


def _named(changed: list[str]) -> str:
    """Return the first few, hashes cut short."""
    few, more = changed[:MAX_DIFFERENCES], len(changed) - MAX_DIFFERENCES
    named = "; ".join(line if len(line) < 80 else f"{line.partition(':')[0]}: another one" for line in few)
    return f"{named}; and {more} more" if more > 0 else named
