"""The hashes and formats of a shard's files."""

from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.console.progress import PATIENCE_SECONDS, progress_bar
from bertsmith.errors import UserError
from bertsmith.storage.files import reported, sha256_file
from bertsmith.storage.json_files import read_json, write_json

CHECKED = "checked.json"
"""In a data folder: file name → size and times of the file when its hash was compared. It may be lost."""

MAX_CHECKED_BYTES = 64 << 20  # of `CHECKED`, which has about 100 for each file of a shard
HEADER_SIZE = (
    128  # bytes, of a .npy file whose array has one axis; NumPy pads it so that the length can be filled in later
)


def compare_hashes(folder: Path, files: Mapping[str, str], remember: bool = True) -> str:
    """Return the first of `files` (name → hex sha256) that differs from its hash; empty if none does.

    Files whose size and times are as when they were last compared are not read again: with `remember` that is kept in
    `CHECKED`, where the folder can be written. Raises UserError where a file cannot be read.
    """
    before = _read_checked(folder / CHECKED)
    now = {name: _stamp(folder / name) for name in files}
    unchecked = [name for name, stamp in now.items() if before.get(name) != stamp]
    total, done = sum(now[name][0] for name in unchecked), 0
    with progress_bar(f"checking {folder}", total, patience=PATIENCE_SECONDS) as bar:
        for name in unchecked:
            with reported(folder / name):
                if sha256_file(folder / name) != files[name]:
                    return name
            done += now[name][0]
            bar.update(done)
    if unchecked and remember:
        with suppress(UserError):  # of a folder that cannot be written
            write_json(folder / CHECKED, now)
    return ""


def npy_header(dtype: np.dtype, length: int) -> bytes:
    """Return the header of the .npy file of an array with one axis."""
    header = BytesIO()
    content = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, content)
    assert header.tell() == HEADER_SIZE, "NumPy's header has another size than we left room for"
    return header.getvalue()


def dtypes_of(vocab_size: int) -> tuple[np.dtype, np.dtype, np.dtype]:
    """Return the formats of a shard's arrays."""
    narrow, positions = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32), np.dtype(np.uint32)
    return narrow, positions, positions


def _stamp(path: Path) -> list[int]:
    """Return size and times of a file; any writing changes one of them."""
    with reported(path):
        found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read_checked(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict, MAX_CHECKED_BYTES)
    except UserError:  # none, or a damaged one
        return {}
