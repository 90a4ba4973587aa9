"""The verb of the record, which `app` adds: an entry is made of runs, or checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertsmith.cli import arguments as args
from bertsmith.console.terminal import say, say_json, tell

if TYPE_CHECKING:
    from bertsmith.records.evidence import Sources


def record(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [GLUE …]",
            help="a run of `pretrain` and its runs of `glue`, one each of protocol=reference and cramming; or an entry "
            "to check, with these runs after it where they are at hand",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="the folder of the entry to write")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="the data folder, where it is not where the run's recipe has it")
    ] = None,
    as_json: args.AsJson = False,
    plugin: args.Plugins = None,
) -> None:
    """Write an entry of the record, or check one. Where what it claims does not follow from its files, the exit status
    is 1. records/README.md has the rules."""
    from bertsmith.errors import UserError
    from bertsmith.records.folder import find_sources, write_entry
    from bertsmith.storage.manifests import folder_type

    first, *others = runs
    if folder_type(first, strict=True) == "record":
        if out is not None:
            raise UserError(f"--out {out}: {first} is an entry already, and is checked; leave --out away")
        if data is not None and not others:
            raise UserError(f"--data {data}: {first} is checked by its own files; name its runs too, or no --data")
        _check(first, find_sources(others, data) if others else None, as_json)
        return
    if out is None:
        raise UserError(f"record: --out is missing; name the folder to write the entry of {first} to")
    entry = write_entry(find_sources(runs, data), out)
    _show(entry, str(out), as_json)
    tell(f"wrote {out}")
    args.say_next("record", out)


def _check(folder: Path, against: "Sources | None", as_json: bool) -> None:
    """Print what is wrong with an entry, or the entry. Exits with status 1 where something is."""
    from bertsmith.records.folder import check_entry, read_entry

    faults = check_entry(folder, against)
    if as_json:
        say_json({"entry": str(folder), "faults": faults}, indent=2)
    else:
        for line in faults:
            say(line)
        if not faults:
            _show(read_entry(folder), str(folder), as_json)
            runs = ", and its files are the runs' own" if against is not None else ""
            say(f"{folder}: all that it claims follows from its files{runs}")
    if faults:
        raise typer.Exit(1)


def _show(entry: dict[str, Any], title: str, as_json: bool) -> None:
    """Print an entry, which has been computed of its files."""
    if as_json:
        say_json(entry, indent=2)
        return
    from bertsmith.cli.show import print_facts
    from bertsmith.console.progress import format_count
    from bertsmith.reports.averages import seeds_of

    parameters, of_reference = entry["parameters"], entry["flops_as_the_reference_counts"]
    counted = "" if of_reference is None else f" ({of_reference:.3g} as the reference counts)"
    facts = {
        "board": entry["board"] or "none: too many parameters",
        "parameters": f"{parameters['encoder']:,} of the encoder, {parameters['trained']:,} trained",
        "trained": f"{entry['steps']:,} steps, {format_count(entry['tokens'])} tokens, {entry['hours']:.2f} hours, "
        f"{entry['flops']:.3g} FLOPs{counted}",
        "on": ", ".join(entry["machines"]) or "–",
    }
    for protocol, found in entry["glue"].items():
        score = "–" if found["mean"] is None else f"{100 * found['mean']:.2f}"
        trials = {task: {"trials": row["seeds"]} for task, row in found["tasks"].items()}
        facts[f"GLUE, {protocol}"] = f"{score} over {found['numbers']} of {found['of']}, median of {seeds_of(trials)}"
    facts["eligible"] = entry["eligible"]
    print_facts(f"{title}: an entry of the record", facts)
    for line in entry["not_eligible"]:
        say(f"not eligible: {line}")
