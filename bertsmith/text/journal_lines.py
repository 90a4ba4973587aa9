"""The lines of a preparation's journal as they are read back, each of its shape and with a sum over all before."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from bertsmith.errors import UserError
from bertsmith.storage.files import reported
from bertsmith.storage.json_files import check_shape, parse_json
from bertsmith.storage.manifests import FORMAT_VERSION
from bertsmith.text.shards import ARRAYS, SPLITS

JOURNAL = "journal of a preparation"  # the type in the first line, which makes a journal.jsonl one of ours
JOURNAL_VERSION = 2  # of its lines and of how corpora are cut into parts; the first had no number
MAX_JOURNAL_LINE = 1 << 20  # bytes; a line has about 500
MAX_CORPORA = 1 << 16

_HEAD = {"kind": str, "format_version": int, "journal_version?": int, "bertsmith_version?": str, "identity": dict}
_COUNTS = {str: int}
_PART = {"lengths": {split: [int] for split in SPLITS}, "counts": _COUNTS, "skipped": _COUNTS, "corpus?": int}
_CLOSED = {"closed": str, "lengths": dict.fromkeys(ARRAYS, int), "files": {str: str}}


def read_journal(path: Path) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Return the first line of a preparation's journal, which has its identity, and an iterator over its other lines,
    up to the first that is damaged or torn. Raises UserError where it is no journal of ours."""
    with reported(path), path.open("rb") as file:
        head, _ = _read_head(file, path)
    return head, _read_lines(path)


def _read_head(file: BinaryIO, path: Path) -> tuple[dict[str, Any], str]:
    """Return the first line and its checksum, which is empty where the journal has none."""
    try:
        head = parse_json(_next_line(file) or b"", str(path), dict)
        before = ""
        if "kind" in head:
            check_shape(head, _HEAD, str(path))
            before = _check_sum(head, "", str(path))
        elif {"corpus", "vocab", "lowercase", "heldout_fraction"} <= head.keys():  # as version 0.1.0 began it
            head = {
                "kind": JOURNAL, "format_version": FORMAT_VERSION, "bertsmith_version": "0.1.0", "identity": head,
            }  # fmt: skip
        if head.get("kind") != JOURNAL:
            raise UserError("another file of that name")
    except UserError:
        raise UserError(f"{path}: not the journal of a preparation; move it away, or choose another --out") from None
    if head["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path}: format {head['format_version']}, where this version reads {FORMAT_VERSION}")
    return head, before


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with reported(path), path.open("rb") as file, suppress(UserError):
        head, before = _read_head(file, path)
        read_line = _read_line if head.get("journal_version") == JOURNAL_VERSION else _read_earlier_line
        has_checksums = bool(before)
        while text := _next_line(file):
            line = read_line(text, str(path))
            before = _check_sum(line, before, str(path)) if has_checksums else ""
            yield line


def _next_line(file: BinaryIO) -> bytes | None:
    """Return the next line without its end; None where it has none, or is longer than any."""
    text = file.readline(MAX_JOURNAL_LINE)
    return text[:-1] if text.endswith(b"\n") else None


def summed_line(line: dict[str, Any], before: str) -> tuple[bytes, str]:
    """Return a line as it is written, and its checksum, which is its last key: of itself and of the checksum of the
    line before."""
    text = json.dumps(line)
    found = _sum_of(text, before)
    return f'{text[:-1]}, "sum": "{found}"}}\n'.encode(), found


def _sum_of(text: str, before: str) -> str:
    return hashlib.sha256(f"{before}{text}".encode()).hexdigest()[:16]


def _check_sum(line: dict[str, Any], before: str, where: str) -> str:
    """Take the sum out of a line and return it. Raises UserError where it is not the line's after the one before."""
    found = line.pop("sum", None)
    if found != _sum_of(json.dumps(line), before):
        raise UserError(f"{where}: a line that was not written so")
    return found


def _read_line(text: bytes, where: str) -> dict[str, Any]:
    line = parse_json(text, where, dict)
    if "closed" in line:
        check_shape(line, _CLOSED, where)
        if line["closed"] not in SPLITS or any("/" in name for name in line["files"]):
            raise UserError(f"{where}: closed is none of {', '.join(SPLITS)}")
        return line
    check_shape(line, _PART, where)
    if not 0 <= line.get("corpus", 0) <= MAX_CORPORA:
        raise UserError(f"{where}: corpus is no number of one")
    for split, lengths in line["lengths"].items():
        if split not in SPLITS or len(lengths) != len(ARRAYS) or min(lengths) < 0:
            raise UserError(f"{where}: lengths.{split} are no lengths of a piece")
    return line


def _read_earlier_line(text: bytes, where: str) -> dict[str, Any]:
    """Read a line of a journal of version 1, which names files and positions of shards."""
    line = parse_json(text, where, dict)
    check_shape(line, {"positions": {str: list}, "files?": {str: str}}, where)
    for split, position in line["positions"].items():
        if split not in SPLITS or len(position) != 2 or type(position[0]) is not int:
            raise UserError(f"{where}: positions.{split} is no position of a shard")
    return line
