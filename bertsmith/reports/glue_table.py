"""A GLUE run's results as text: a line for each metric, then both averages beside published ones."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from bertsmith.reports.averages import PROTOCOLS
from bertsmith.reports.published import PUBLISHED_AVERAGES

LINE_WIDTH = 100
"""Of a line, in characters."""


def glue_table(results: Mapping[str, Any]) -> list[str]:
    """Return lines for people, scores × 100.

    Args:
        results: the content of a GLUE run's results.json; see `bertsmith.sweeps.glue`.
    """
    lines = [f"{'task':<18}{'metric':<21}{'seeds':>5}{'median':>9}{'mean':>9}{'std':>9}"]
    for task, row in results["tasks"].items():
        title = f"{task} (from MNLI)" if row["from_mnli"] else task
        for metric, summary in row["summary"].items():
            scores = "".join(
                f"{'–':>9}" if summary[name] is None else f"{100 * summary[name]:>9.2f}"
                for name in ("median", "mean", "std")
            )
            lines.append(f"{title:<18}{metric:<21}{len(row['trials']):>5}{scores}")
            title = ""
    lines += [f"absent: {task} ({why})" for task, why in results["absent"].items()]
    for name, found in results["averages"].items():
        lines += ["", *wrap(PROTOCOLS[name].title, LINE_WIDTH), *_compared(name, found, seeds_of(results["tasks"]))]
    return lines


def _compared(name: str, found: Mapping[str, Any], seeds: str) -> Iterator[str]:
    score = "–" if found["mean"] is None else f"{100 * found['mean']:.2f}"
    reasons = reservations(found)
    yield f"  {'this run':<20}{score:>6}  dev set, median of {seeds}{'; not comparable:' if reasons else ''}"
    for reservation in reasons:
        yield from wrap(reservation, LINE_WIDTH, initial_indent=f"{'':>30}- ", subsequent_indent=f"{'':>32}")
    for row in sorted(PUBLISHED_AVERAGES[name], key=lambda row: -row.score):
        yield f"  {row.model:<20}{row.score:>6.2f}  {row.protocol}; {row.source}"


def reservations(found: Mapping[str, Any]) -> list[str]:
    """Return what prevents comparing the average."""
    said = []
    if found["missing"]:
        said.append(f"over {found['numbers']} of {found['of']}, without {', '.join(found['missing'])}")
    if found["from_mnli"]:
        said.append(f"started from MNLI's model: {', '.join(found['from_mnli'])}")
    return said + found["departures"]


def seeds_of(tasks: Mapping[str, Any]) -> str:
    """Return how many seeds the tasks of a run have."""
    counts = sorted({len(row["trials"]) for row in tasks.values()})
    if not counts:
        return "no seed"
    range_of = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{range_of} {'seed' if range_of == '1' else 'seeds'}"
