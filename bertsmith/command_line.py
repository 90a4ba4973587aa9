"""What the verbs of the command line share: their arguments, what they say last, and how they are stopped."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bertsmith.errors import Interrupted
from bertsmith.signals import leave_terminal, stop_signals

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe's name, or the path of a TOML file")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE …]", help="settings laid over the recipe")]
Out = Annotated[Path, typer.Option("--out", help="the folder to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="start afresh instead of continuing")]
Model = Annotated[Path, typer.Argument(metavar="RUN", help="a run, or a Hugging Face folder")]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        help="a text a line, - for standard input; .tsv, .csv, .jsonl, .parquet: rows, by the columns learnt from; "
        ".conll: a word a line",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead, for programs")]
Truncate = Annotated[bool, typer.Option("--truncate", help="cut texts that are longer than the model")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")]
OfTask = Annotated[str | None, typer.Option("--task", help="which one, of a run of several tasks")]
Traceback = Annotated[bool, typer.Option("--traceback", help="show the stack of an error")]


def say_next(command: str) -> None:
    """What to type now, if there is a good guess."""
    if command:
        print(f"next: {command}")


def what_next(run: Path, out: Path) -> str:
    """The command that exports a fine-tuning run, of several tasks the first that can be; or asks it, where none
    can."""
    from bertsmith.tasks.runs import read_recipe

    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    option = {task: f" --task {task}" for task in manifest.get("tasks", ())} or {None: ""}
    for task in option:
        if read_recipe(run, task).exports:
            return f"bertsmith export {run} {out}{option[task]}"
    return f"bertsmith predict {run} --file questions.tsv{next(iter(option.values()))}"


def command_of(verb: str, recipe: str, overrides: list[str] | None, out: Path) -> str:
    """The command line that was given."""
    return shlex.join(["bertsmith", verb, recipe, *(overrides or ()), "--out", str(out)])


def _interrupt(number: int, frame: object) -> None:
    leave_terminal(number)
    raise Interrupted(number)


@contextmanager
def stopping(command: str) -> Iterator[None]:
    """Ends the program with 128 and the signal's number when it was asked to stop, and says how to go on."""
    for number in stop_signals():
        if number != signal.SIGINT:  # a KeyboardInterrupt
            signal.signal(number, _interrupt)
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        print(f"stopped; what is finished is kept. To go on:\n  {command}", file=sys.stderr)
        raise SystemExit(128 + number) from None
