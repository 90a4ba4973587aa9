"""Columns of a file's values, each of one kind."""

from pathlib import Path
from typing import Any, NamedTuple


class Table(NamedTuple):
    """The wanted columns of one file, R rows each."""

    path: Path
    columns: dict[str, list[Any]]
    """What the kind of each column's cells gives; see `cells`."""
    lines: list[int]
    """Line of each row in the file (Parquet: its number), from 1."""
    left_out: str = ""
    """How many malformed lines were, and the first of them; empty where none was."""
