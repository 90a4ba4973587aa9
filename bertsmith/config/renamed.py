"""Settings by their earlier names, which are still taken."""

import json
from typing import Any


def rename_settings(cls: Any, values: dict[str, Any], origins: dict[str, str]) -> tuple[str, ...]:
    """Put settings of earlier names, see `bertsmith.config.fields.Renamed`, under those of now; return a line each."""
    notes = []
    for before, (now, translate) in getattr(cls, "renamed", {}).items():
        value = values.get(before)
        translated = translate(value) if isinstance(value, bool | int | float | str) else None
        if translated is None:
            continue
        del values[before]
        origin = origins.pop(before, "recipe")
        if now not in values or origin == "command line":
            values[now], origins[now] = translated, origin
        notes.append(f"{before}={json.dumps(value)} is written {now}={json.dumps(translated)} now")
    return tuple(notes)
