"""`bertsmith filter`: a corpus's documents that pass, and a table of what was dropped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.cli import arguments as args
from bertsmith.console.terminal import say_table, tell


def filter_text(recipe: str, overrides: list[str], out: Path, overwrite: bool) -> None:
    """Filter a corpus to a folder, or submit jobs that do."""
    from bertsmith.config.loading import load
    from bertsmith.filtering.filter import filter_corpus
    from bertsmith.filtering.recipe import FilterRecipe

    settings = load(FilterRecipe, "filter", recipe, overrides).settings
    again = args.command_of("filter", recipe, overrides, out)
    with args.stopping(again):
        before = args.content_of(out)
        filtered = filter_corpus(settings, out, overwrite)
    if filtered.jobs:
        tell(f"submitted {len(filtered.jobs)} jobs: {', '.join(filtered.jobs)}. When they have ended:\n  {again}")
        return
    print_counts(out, filtered.manifest)
    tell(f"{args.written(out, before)}; dropped.json has a sample of what was dropped")
    args.say_next(*what_reads(out))


def what_reads(out: Path) -> list[object]:
    """Return the command that prepares what was kept."""
    return ["prepare", "jsonl", f"corpus={out}", "vocab=PATH", "--out", "data/filtered"]


def print_counts(out: Path, manifest: Mapping[str, Any]) -> None:
    """Print a table of documents and bytes that were read, dropped by each reason, and kept."""
    total = manifest["read"][0] or 1

    def row(name: str, counts: list[int]) -> tuple[str, ...]:
        return name, f"{counts[0]:,}", f"{counts[0] / total:.1%}", f"{counts[1] / 1e6:,.1f}"

    rows = [row("read", manifest["read"])]
    rows += [row(reason, counts) for reason, counts in manifest["dropped"].items()]
    rows.append(row("kept", manifest["kept"]))
    bold = [name in ("read", "kept") for name, *_ in rows]
    headings, options = ("", "documents", "share", "MB"), {"right": True, "box": None, "padding": (0, 2, 0, 0)}
    say_table(f"{out}: documents", headings, rows, bold, **options)
    for title, counts in (("lines taken out of texts", manifest["lines"]), ("not read", manifest["skipped"])):
        if counts:
            tell(f"{title}: {', '.join(f'{number:,} {name}' for name, number in counts.items())}")
