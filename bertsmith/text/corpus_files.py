"""The files of a corpus: those in a folder, of a glob, or behind an address."""

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bertsmith.errors import UserError
from bertsmith.storage.files import reported
from bertsmith.storage.manifests import folder_type
from bertsmith.storage.remote import find_remote
from bertsmith.text.layouts.layout import CorpusFile


def count_endings(paths: Iterable[str]) -> Counter[str]:
    """Return how many of the files have each ending."""
    names = (os.path.basename(path) for path in paths)
    endings = ("".join(Path(name.lstrip(".")).suffixes[-2:]) for name in names)
    return Counter(f"*{ending[-20:]}" if ending else "without an ending" for ending in endings)


def list_path(path: str, passed_over: Counter[str]) -> list[CorpusFile]:
    """List the regular files; pipes and devices are counted and never opened."""
    with reported(Path(path)):
        if os.path.isdir(path):
            names = list(_walk(path, passed_over))
        else:
            names = [path] if os.path.exists(path) else glob.glob(path, recursive=True)
            if not names:
                raise UserError(f"{path}: no such file or folder; set corpus=… to where the text is")
        files = []
        for name in names:
            status = os.stat(name)
            if stat.S_ISREG(status.st_mode):
                files.append(CorpusFile(name, status.st_size))
            elif name == path:
                raise UserError(f"{path}: neither a file nor a folder; write what it gives to a file")
            elif not stat.S_ISDIR(status.st_mode):
                passed_over["pipe, device or socket"] += 1
        return sorted(files)


def is_below(path: str, others: Sequence[str]) -> bool:
    """Return whether a path is one of `others`, or in one of them; all are absolute."""
    return any(path == other or path.startswith(f"{other}{os.sep}") for other in others)


def _walk(folder: str, passed_over: Counter[str]) -> Iterator[str]:
    """Yield the files below a folder, but hidden ones and those in folders that bertsmith wrote; links are followed,
    and no folder is entered twice."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen or (parent != folder and folder_type(Path(parent)) is not None):
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        hidden = sum(name.startswith(".") for name in names)
        if hidden:
            passed_over["hidden"] += hidden
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))


def list_address(url: str) -> list[CorpusFile]:
    """List the files behind an address, which may be a glob. Raises UserError where there are none."""
    if not (found := find_remote(url)):
        raise UserError(f"{url}: nothing there; set corpus=… to where the text is")
    return [CorpusFile(address, size) for address, size in found]
