"""Names of files that several processes write a part of each: NAME-00001-of-00004.ending, and NAME.ending of one."""

import re
from collections.abc import Collection
from pathlib import PurePath


def part_name(name: str, number: int, count: int) -> str:
    """Return the name of part `number`, from 1 to `count`, of a file; of a single part the file's own name."""
    path = PurePath(name)
    return name if count == 1 else f"{path.stem}-{number:05d}-of-{count:05d}{path.suffix}"


def is_part(other: str, name: str) -> bool:
    """Return whether `other` is the name of a file or of one of its parts."""
    path = PurePath(name)
    pattern = rf"{re.escape(path.stem)}-[0-9]{{5}}-of-[0-9]{{5}}{re.escape(path.suffix)}"
    return other == name or re.fullmatch(pattern, other) is not None


def parts_of(name: str, names: Collection[str]) -> list[str]:
    """Return those of `names` that are `name` or its parts, in order; none where a part is missing, or one is there
    that belongs to another number of parts."""
    found = {other for other in names if is_part(other, name)}
    parts = [part_name(name, number, len(found)) for number in range(1, len(found) + 1)]
    return parts if set(parts) == found else []
