"""What a sweep says and writes when one of its runs is finished, and when all are."""

from collections.abc import Callable
from typing import Any

from bertsmith.console.terminal import say
from bertsmith.storage.files import Held
from bertsmith.storage.json_files import write_json
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.tasks.finetune import score_table
from bertsmith.tasks.trials.run import FinetuneRun

Results = Callable[[], dict[str, Any]]
"""Returns what the sweep's results.json has, of the runs that are there."""


def say_and_write_each(held: Held, num_runs: int, results: Results) -> Callable[[FinetuneRun], None]:
    """Return what is to be called with each finished run of a sweep, which has `num_runs` and its folder `held`: it
    says which one it was and its scores, and writes the sweep's results.json."""
    num_finished = 0

    def finished(run: FinetuneRun) -> None:
        nonlocal num_finished
        num_finished += 1
        say(f"{run.plan.source.name}: {num_finished} of {num_runs}", error=True)
        say("\n".join(score_table(run.results)), error=True)
        held.check()
        write_json(held.path / "results.json", results())

    return finished


def finish_sweep(held: Held, type_name: str, results: Results) -> dict[str, Any]:
    """Write the sweep's results.json, mark its folder as finished, and return what results.json has."""
    content = results()
    write_json(held.path / "results.json", content)
    write_manifest(held.path, type_name, read_manifest(held.path, type_name) | {"finished": True})
    return content
