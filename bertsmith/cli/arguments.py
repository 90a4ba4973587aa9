"""Shared by the verbs of the command line: arguments, last lines, and how a verb is stopped."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bertsmith.console.shell import command
from bertsmith.console.signals import leave_terminal, stop_signals
from bertsmith.console.terminal import say, tell
from bertsmith.errors import Interrupted, UserError
from bertsmith.storage.files import refuse_address
from bertsmith.storage.remote import list_files, read_remote

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe's name, or the path of a TOML file")]


def key_values(help: str) -> Any:
    """Return the argument of a verb's settings, with the `help` that names them."""
    return typer.Argument(metavar="[KEY=VALUE …]", help=help)


Overrides = Annotated[list[str] | None, key_values("settings that override the recipe's")]
OutDir = Annotated[Path, typer.Argument(metavar="OUT_DIR", help="the folder to write")]
Out = Annotated[Path, typer.Option("--out", help="the folder to write")]
OutOrAddress = Annotated[
    str, typer.Option("--out", metavar="PATH", help="the folder to write, or its address (s3://…, gs://…)")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="start again instead of continuing")]
ModelArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run, or a Hugging Face folder")]
FileOption = Annotated[
    str | None,
    typer.Option(
        "--file",
        help="one text a line, - for standard input; .tsv, .csv, .jsonl, .parquet: a table with the columns of the "
        "training data; .conll: one word a line",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead, for programs")]
Truncate = Annotated[bool, typer.Option("--truncate", help="cut long texts; fine-tuned models always do")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N")]
OfTask = Annotated[str | None, typer.Option("--task", help="the task, in a run of several tasks")]


def _load_plugins(paths: list[str] | None) -> list[str]:
    """Load plugins as the command line is read, before what it opens."""
    from bertsmith.config.plugins import load_plugin

    for path in paths or ():
        load_plugin(path)
    return list(paths or ())


_PLUGIN_HELP = "a Python file that registers more, see docs/extending.md; repeatable"
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE.py", callback=_load_plugins, help=_PLUGIN_HELP)
]
Traceback = Annotated[bool, typer.Option("--traceback", help="show an error's traceback")]

NON_PATH_ARGUMENTS = ("texts", "overrides", "asked", "place")
"""Parameters whose text may be an address: texts to predict, where `prepare` writes, and settings,
which `bertsmith.config.loading` checks."""


def refuse_addresses(program: Any) -> None:
    """Make every verb of typer's `program` refuse an address such as s3://… where it expects a local path."""
    for verb in program.commands.values():
        for parameter in verb.params:
            if parameter.name not in NON_PATH_ARGUMENTS:
                parameter.process_value = _local(parameter)


def _local(parameter: Any) -> Callable[[Any, Any], Any]:
    process, before = parameter.process_value, f"{parameter.opts[0]} " if parameter.opts[0].startswith("-") else ""

    def process_local(context: Any, value: Any) -> Any:
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                refuse_address(text, before)
        return process(context, value)

    return process_local


def say_next(*words: object) -> None:
    """Say which command to type now, by its verb and arguments (see `shell.command`); without any nothing."""
    if words:
        tell(f"next: {command('bertsmith', *words)}")


def what_next(run: Path, out: Path) -> list[object]:
    """Return the words of the command that exports a fine-tuning run (of several tasks the first that can be exported),
    or where there is none, of `predict`."""
    from bertsmith.storage.manifests import read_manifest
    from bertsmith.tasks.runs import read_run_recipe

    tasks = list(read_manifest(run, "finetune").get("tasks", ())) or [None]
    for task in tasks:
        if read_run_recipe(run, task).exports:
            return ["export", run, out, *_of(task)]
    return ["predict", run, "--file", "questions.tsv", *_of(tasks[0])]


SMALL_TEXTS = {20_000_000: "bert-tiny", 300_000_000: "bert-mini"}
"""Recipe by the training tokens from which the next one is of use: a plan of bert-small-owt's goes through billions."""


def what_to_pretrain(data: Path | str, vocab: Path, num_tokens: int) -> list[object]:
    """Return the words of the command that trains on data of so many training tokens: where `vocab` is a model's folder
    that goes on from it, else with a recipe of that size."""
    from bertsmith.storage.manifests import folder_type, read_manifest

    parent, objective = vocab.parent, "mlm"
    if folder_type(vocab) == "pretrain":
        recipe = read_manifest(vocab, "pretrain").get("recipe", {})
        objective = recipe.get("objective", {}).get("kind", objective)
    elif vocab.name == "discriminator" and _has_weights(parent / "generator"):
        vocab, objective = parent, "rtd"  # `import` names the one, and training takes both
    elif not _has_weights(vocab):
        name = next((name for most, name in SMALL_TEXTS.items() if num_tokens < most), "bert-small-owt")
        return ["pretrain", name, f"data={data}", "--out", f"runs/{name}"]
    more = [] if objective == "mlm" else [f"objective.kind={objective}"]
    return ["pretrain", "continue", f"init={vocab}", *more, f"data={data}", "--out", f"runs/{Path(data).name}"]


def _has_weights(folder: Path) -> bool:
    """Return whether this is a Hugging Face folder with a model, and not with a tokenizer alone."""
    names = ("model.safetensors", "model.safetensors.index.json")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in names)


def _of(task: str | None) -> list[str]:
    return [] if task is None else ["--task", task]


def command_of(verb: str, recipe: str, overrides: list[str] | None, out: Path | str) -> str:
    """Return the command line that was given."""
    first = Path(recipe) if recipe.startswith("-") else recipe
    return command("bertsmith", verb, first, *(overrides or ()), "--out", out)


def with_plugins(overrides: list[str] | None, plugins: list[str] | None) -> list[str]:
    """Return settings with the plugins that were named as options."""
    return [*(overrides or ()), *([f"plugins={json.dumps(plugins)}"] if plugins else ())]


@contextmanager
def asking_for_plugins(run: Path, overwrite: bool) -> Iterator[None]:
    """Name the plugins that the run in this folder needs, where a recipe cannot be loaded for lack of them."""
    from bertsmith.config.plugins import require_plugins

    try:
        yield
    except UserError:
        if not overwrite:
            require_plugins(run)
        raise


def content_of(path: Path | str) -> bytes | None:
    """Return the content of a file, or of the manifest of a folder, which may be at an address; None where there is
    none. Raises UserError where the address cannot be read."""
    if isinstance(path, str):
        return read_remote(f"{path}/manifest.json") if "manifest.json" in list_files(path) else None
    try:
        return (path / "manifest.json" if path.is_dir() else path).read_bytes()
    except OSError:
        return None


def written(path: Path | str, before: bytes | None) -> str:
    """Return a line that says whether `path` was written, or stands as it did `before` (see `content_of`)."""
    if before is not None and content_of(path) == before:
        return f"{path} was finished before; nothing was left to do"
    return f"wrote {path}"


def refuse_ranks(verb: str) -> None:
    """Raise UserError in one of several processes that share the work, as torchrun starts them."""
    from bertsmith.training.joining import world_size

    if (size := world_size()) > 1:
        raise UserError(
            f"WORLD_SIZE={size}: of bertsmith's commands only `pretrain` works in several processes of torchrun; start "
            f"`bertsmith {verb}` without it, or with WORLD_SIZE unset (jobs=N does several trainings at a time)"
        )


def _interrupt(number: int, frame: object) -> None:
    leave_terminal(number)
    raise Interrupted(number)


@contextmanager
def stopping(again: str | None) -> Iterator[None]:
    """End the program with 128 and the signal's number when it is asked to stop, and say how to go on; None where what
    was done is not kept."""
    caught = [number for number in stop_signals() if number != signal.SIGINT]  # which is a KeyboardInterrupt
    previous = {number: signal.signal(number, _interrupt) for number in caught}
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        number, saved = (error.number, error.saved) if isinstance(error, Interrupted) else (signal.SIGINT, "")
        how = f"stopped {saved}" if saved else "stopped; what is finished is kept"
        say("stopped" if again is None else f"{how}. To go on:\n  {again}", error=True)
        raise SystemExit(128 + number) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
