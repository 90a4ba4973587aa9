"""Write docs/settings.md, the page of every setting, from the settings classes.

python docs/make_settings.py
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from bertsmith.cli.usage import SETTINGS, settings_classes
from bertsmith.config.schema import entry_class, hints_of, kinds_of

PAGE = Path(__file__).parent / "settings.md"

HEAD = """# Settings

Written by `python docs/make_settings.py` from the settings classes; do not edit it by hand.

A setting is written `key=value` on the command line and `key = value` in a recipe, where a point stands for a table. A
value is TOML's; text needs no quotes on the command line. "needed" has no default; "–" is none. A setting in *italics*
may change when a command is run again on its folder; another value of any other is another run. Where a table has a
`kind`, a setting of some kinds alone names them. Shipped recipes differ from these defaults: `bertsmith show RECIPE`.
"""


class Row(NamedTuple):
    """A line of the page."""

    key: str
    default: str
    meaning: str
    continues: bool
    """whether it may change when a command is run again on its folder"""


def rows(cls: type, usual: Any = None, prefix: str = "", continues: bool = False) -> Iterator[Row]:
    """Yield a row for each setting of `cls`, whose defaults are those of the object `usual` where that is given."""
    hints = hints_of(cls)
    for field in dataclasses.fields(cls):
        default = _default(field) if usual is None else getattr(usual, field.name)
        free, key = continues or not field.metadata["identity"], f"{prefix}{field.name}"
        members = kinds_of(hints[field.name])
        table = type(default) if dataclasses.is_dataclass(default) else hints[field.name]
        if members:
            yield from _rows_of_kinds(members, default, f"{key}.", free)
        elif dataclasses.is_dataclass(table):
            yield from rows(table, default if dataclasses.is_dataclass(default) else None, f"{key}.", free)
        else:
            yield Row(key, _shown(default), field.metadata["description"], free)
            if entry := entry_class(hints[field.name]):
                yield from rows(entry, None, f"{key}[].", free)


def _rows_of_kinds(members: dict[str, type], default: Any, prefix: str, continues: bool) -> Iterator[Row]:
    kinds_with: dict[Row, list[str]] = {}
    for kind, member in members.items():
        for row in rows(member, default if type(default) is member else None, prefix, continues):
            if row.key == f"{prefix}kind":
                row = row._replace(default=_shown(default.kind), meaning=f"one of {', '.join(members)}")
            kinds_with.setdefault(row, []).append(kind)
    for row, kinds in kinds_with.items():
        only = "" if len(kinds) == len(members) else f" ({', '.join(kinds)})"
        yield row._replace(meaning=f"{row.meaning}{only}")


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _shown(default: Any) -> str:
    if default is dataclasses.MISSING:
        return "needed"
    return "–" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def page() -> str:
    """Return the text of docs/settings.md: a table for each settings class, under the verbs that take it."""
    verbs: dict[type, list[str]] = {}
    for verb in SETTINGS:
        for cls in settings_classes(verb):
            verbs.setdefault(cls, []).append(f"`{verb}`")
    parts = [HEAD]
    for cls, names in verbs.items():
        parts.append(f"\n## {', '.join(names)}\n\n| setting | default | meaning |\n|---|---|---|\n")
        for row in rows(cls):
            key = f"*`{row.key}`*" if row.continues else f"`{row.key}`"
            parts.append(f"| {key} | {row.default} | {_escaped(row.meaning)} |\n")
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
